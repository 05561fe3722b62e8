"""Data walk through the house once: a room imports only from rooms above it. This file holds the one table."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tercih

HOUSE = Path(tercih.__file__).parent

TENSORS = {"spans", "tokens", "forward", "batches", "segments", "ops", "divergences", "method", "families"}
LEARNING = TENSORS | {
    "distributed",
    "records",
    "data",
    "models",
    "rewards",
    "rollout",
    "algorithms",
    "optimisation",
    "progress",
    "train",
}
ALL_ROOMS = {
    *LEARNING, "sources", "feedback", "environments", "agents", "checkpoint", "metrics", "evaluation", "report", "run",
}  # fmt: skip

FLOW = {"tokens", "forward", "batches"}
MAY_IMPORT: dict[str, set[str]] = {
    "spans": set(),
    "records": set(),
    "places": set(),
    "sources": {"records"},
    "feedback": {"records", "sources"},
    "environments": {"records", "sources"},
    "progress": set(),
    "tokens": set(),
    "forward": {"spans", "tokens"},
    "batches": {"tokens", "forward"},
    "segments": FLOW,
    "ops": FLOW,
    "divergences": set(),
    "card": set(),
    "method": FLOW,
    "families": FLOW | {"ops", "divergences", "method"},
    "distributed": FLOW,
    "data": FLOW | {"records", "places", "progress", "segments"},
    "models": FLOW | {"card", "spans", "places", "segments"},
    "rewards": FLOW | {"card", "records", "ops", "environments", "data", "models"},
    # Sampling for training scores what it sampled, so rewards stand above rollouts.
    "rollout": FLOW | {"spans", "records", "ops", "distributed", "data", "models", "rewards"},
    "algorithms": TENSORS | {"card"},
    "checkpoint": set(),
    "metrics": set(),
    "optimisation": set(),
    "train": FLOW | {"spans", "method", "distributed", "checkpoint", "metrics", "optimisation", "progress"},
    "agents": LEARNING | {"card", "feedback", "environments"},
    "evaluation": {"records"},
    "report": {"evaluation"},
    "config": set(),
    "run": {"progress"},
    "conformance": LEARNING | {"card", "feedback", "environments", "agents", "evaluation"},
    "shelf": LEARNING | {"card", "agents", "conformance", "run"},
    "doctor": LEARNING | {"evaluation"},
    "profiling": {"spans"},
    # What the server leaves to it: the one room between people's tables and models.
    "worker": LEARNING | {"feedback", "environments", "agents", "checkpoint"},
    "recipes": ALL_ROOMS | {"doctor", "worker"},
    "commands": ALL_ROOMS | {"config", "shelf", "conformance", "doctor", "profiling", "worker", "recipes"},
    "cli": set(),  # names its commands in strings, so that each is imported only when it is chosen
    "__main__": {"cli"},
}
NO_TORCH = ("records", "sources", "feedback", "environments", "evaluation", "report")
HEAVY = {"torch", "transformers", "peft", "safetensors"}


def imported(source: str, module: str, *, package: bool) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything a module imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                up = parts[: len(parts) - node.level + package]
                base = ".".join([*up, base] if base else up)
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def room_of(module: str) -> str:
    """The room of "tercih.rewards.learned" is "rewards"; "tercih" itself is in none."""
    return module.split(".")[1] if "." in module else ""


def violations(source: str, module: str, *, package: bool = False) -> list[str]:
    """What the table forbids in the source of `module` ("tercih.rewards.learned")."""
    room = room_of(module)
    if not room:
        return [f"{module}:{line} imports {name}" for line, name in imported(source, module, package=package)]
    if room not in MAY_IMPORT:
        return [f"{module}: room {room!r} has no row in MAY_IMPORT"]
    found = []
    for line, name in imported(source, module, package=package):
        top, *rest = name.split(".")
        if top in HEAVY and room in NO_TORCH:
            found.append(f"{module}:{line}: {room} is free of torch, but imports {name}")
        if top != "tercih" or not rest:
            continue
        if rest[0] not in MAY_IMPORT[room] | {room}:
            found.append(f"{module}:{line}: {room} may not import {name}")
        if room == rest[0] == "algorithms" and not package:
            found.append(f"{module}:{line}: a method imports another ({name})")
    return found


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(HOUSE.rglob("*.py")):
        parts = ("tercih", *path.relative_to(HOUSE).with_suffix("").parts)
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def test_every_import_points_up() -> None:
    found = [
        wrong
        for module, path in modules()
        for wrong in violations(path.read_text(), module, package=path.name == "__init__.py")
    ]
    assert not found, "\n".join(found)


def test_the_table_itself_has_no_way_round() -> None:
    above: set[str] = set()
    for room, allowed in MAY_IMPORT.items():
        assert allowed <= above, f"{room} may import {allowed - above}, which stand below it"
        above.add(room)


def test_every_row_is_a_room() -> None:
    there = {module.split(".")[1] for module, _ in modules() if "." in module}
    assert not set(MAY_IMPORT) - there


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("tercih.records", "import torch"),
        ("tercih.feedback.store", "def f():\n    from torch import nn"),
        ("tercih.sources.hub", "from transformers import AutoTokenizer"),
        ("tercih.evaluation.win_rate", "import torch.nn.functional as F"),
        ("tercih.report.write", "from tercih.train import fit"),
        ("tercih.batches", "from tercih.ops import gae"),
        ("tercih.models.load", "from tercih.data.tokenize import Tokenizer"),
        ("tercih.models.load", "from ..data import tokenize"),
        ("tercih.rewards.learned", "from tercih.rollout.engine import Engine"),
        ("tercih.rewards.learned", "import tercih.rollout.engine"),
        ("tercih.rewards.learned", "from tercih import rollout"),
        ("tercih.algorithms.dpo", "from tercih.algorithms.ppo import PPO"),
        ("tercih.algorithms.dpo", "from .ppo import PPO"),
        ("tercih.algorithms.dpo", "from . import ppo"),
        ("tercih.algorithms.dpo", "from tercih.models.language_model import LanguageModel"),
        ("tercih.train", "from tercih.algorithms import METHODS"),
        ("tercih.train", "from tercih.agents.ppo import PPO"),
        ("tercih.recipes.loop", "from tercih.cli import main"),
        ("tercih.commands.train", "import tercih.cli"),
        ("tercih.cli", "from tercih.train import fit"),
        ("tercih.shed.tool", "import json"),
    ],
)
def test_planted_bad_imports_are_found(module: str, source: str) -> None:
    assert violations(source, module)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("tercih.rollout.sampler", "from tercih.rewards.combine import Combiner"),
        ("tercih.rewards.learned", "from .source import check"),
        ("tercih.train", "import torch\nfrom tercih import checkpoint"),
        ("tercih.feedback.store", "import sqlalchemy\nfrom . import tables"),
    ],
)
def test_good_imports_are_not(module: str, source: str) -> None:
    assert not violations(source, module)


def test_rooms_without_torch_load_without_it() -> None:
    names = [m for m, _ in modules() if room_of(m) in NO_TORCH and ".migrations." not in m]  # scripts of Alembic
    assert len(names) > 20
    code = f"import sys, {', '.join(names)}; print(sorted({{'torch', 'transformers', 'peft'}} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
