"""`benchmarks/gpu.sh`, tried out on the processor: what it says, what it must not say, and that it can fail."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpu
import pytest
import torch
from harness.models import SHAPES
from on_gpu import checks, counts
from on_gpu.counts import Weights
from on_gpu.targets import targets
from torch import Tensor

from tercih.models import language_model
from tercih.rollout import slots

ROOT = Path(__file__).parents[2]


@pytest.mark.recipe
def test_it_runs_from_anywhere_and_writes_one_file(tmp_path: Path):
    done = subprocess.run(
        [
            ROOT / "benchmarks" / "gpu.sh", "--device", "cpu", "--tiny", "--threads", "1", "--peers", tmp_path,
            "--json", tmp_path / "g.json",
        ],
        cwd=tmp_path, env={"PATH": os.environ["PATH"], "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "g.json").read_text())
    assert set(found) == {"about", "correctness", "limits", "rollout", "learner", "step", "targets", "failed"}
    assert found["failed"] == []
    assert found["about"]["device"] == "cpu"
    assert found["limits"]["operations"] > 0
    assert found["limits"]["bandwidth"] > 0
    assert all(row["passed"] and row["error"] <= row["bound"] for row in found["correctness"])
    asked = {(row["precision"], row["model"]) for row in found["correctness"]}
    assert asked == {(p, m) for p in ("float32", "bfloat16") for m in ("", "llama", "qwen")}
    assert [row["case"] for row in found["rollout"]] == ["equal lengths", "natural lengths"]
    assert all(row["ours_tokens_per_second"] > 0 for row in found["rollout"])
    assert 0 < found["rollout"][0]["share_of_bandwidth"] < 1
    assert all(0 < row["share_of_matrix_peak"] < 1 for row in found["learner"])
    assert found["step"][0]["ours_s"] > 0
    assert found["step"][0]["peer"] is None
    assert {target["reached"] for target in found["targets"]} == {"not measured"}
    assert all(target["why"] for target in found["targets"])


def _perturbed(right: Callable[..., Any]) -> Callable[..., Any]:
    """Off by a thousandth."""

    def wrong(*arguments: Any, **options: Any) -> Any:
        first, second = right(*arguments, **options)
        return first, second * 1.001

    return wrong


def _flipped(right: Callable[..., Any]) -> Callable[..., Any]:
    """The random numbers are read from the other end: as likely, and not what was asked for."""

    def wrong(logits_BV: Tensor, uniform_B: Tensor, sampling: Any) -> Any:
        return right(logits_BV, 1 - uniform_B, sampling)

    return wrong


@pytest.mark.parametrize(
    ("place", "name", "break_", "tells"),
    [
        (None, "", None, set()),
        (language_model, "measure", lambda f: lambda *a, **k: f(*a, **k)[::-1], {"read", "DPO", "GRPO"}),
        (language_model, "measure", _perturbed, {"read"}),  # the entropy, which no step here asks for
        (slots, "draw", _perturbed, {"sampled"}),
        (slots, "draw", _flipped, {"sampled"}),
    ],
    ids=["nothing", "log-probabilities", "entropies", "engine's log-probabilities", "engine's draws"],
)
def test_a_wrong_number_fails_it(
    place: Any, name: str, break_: Any, tells: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """On one model in float32, whose bounds are tight."""
    monkeypatch.setattr(checks, "PRECISIONS", (torch.float32,))
    monkeypatch.setattr(checks, "CONFIGS", {"llama": checks.CONFIGS["llama"]})
    if place is not None:
        monkeypatch.setattr(place, name, break_(getattr(place, name)))
    file = tmp_path / "gpu.json"
    status = gpu.main(["--device", "cpu", "--tiny", "--only", "correctness", "--json", str(file)])
    found = json.loads(file.read_text())
    failed = {row["check"] for row in found["correctness"] if not row["passed"]}
    assert status == int(bool(tells))
    assert {word for word in ("read", "DPO", "GRPO", "greedy", "sampled") if any(word in c for c in failed)} == tells
    assert len(found["failed"]) == len(failed)


def test_a_part_that_breaks_fails_it_and_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(_device: torch.device) -> Any:
        raise RuntimeError("out of memory")
        yield

    monkeypatch.setattr(checks, "rows", broken)
    file = tmp_path / "gpu.json"
    assert gpu.main(["--device", "cpu", "--tiny", "--only", "correctness", "learner", "--json", str(file)]) == 1
    found = json.loads(file.read_text())
    assert found["failed"] == ["correctness: RuntimeError: out of memory"]
    assert len(found["learner"]) == 2


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    assert "sees no GPU" in capsys.readouterr().out


def test_a_python_that_lacks_something_is_told_in_one_line(tmp_path: Path):
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    done = subprocess.run(
        [ROOT / "benchmarks" / "gpu.sh"], env={"PATH": os.environ["PATH"], "PYTHON": str(bare / "bin" / "python")},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "lacks torch, transformers" in done.stderr


TWO = Weights(trunk=100, head=10, layers=2, queries=8, memories=4)


def test_bytes_that_sampling_reads_are_counted_by_hand():
    """Two prompts of 3 and 5 tokens, two steps: 110 weights each, and keys and values of 3 + 5, then 4 + 6 tokens."""
    assert counts.bytes_read(TWO, [3, 5], 2) == 2 * (2 * 110 + 2 * 2 * 4 * (3 + 5 + 4 + 6))


def test_operations_of_learning_are_counted_by_hand():
    """A prompt of 2 tokens with answers of 1 and 2; tokens attend to 1, 2; 3; 3, 4 tokens."""
    assert counts.operations(TWO, [2], [[1, 2]]) == 6 * (100 * 5 + 10 * 3) + 12 * 2 * 8 * (1 + 2 + 3 + 3 + 4)


def test_shapes_are_of_the_size_in_their_name():
    for name, low, high in (("135m", 125e6, 145e6), ("0.5b", 0.45e9, 0.55e9)):
        for family in ("llama", "qwen"):
            weights = counts.weights_of(SHAPES[f"{family}-{name}"])
            assert low < weights.all < high
    assert weights.head == 151_936 * 896  # Qwen2.5-0.5B
    assert (weights.queries, weights.memories, weights.layers) == (896, 128, 24)


def test_targets_are_judged():
    found = {
        "rollout": [
            {"model": "qwen-0.5b", "case": case, "times_faster": {"median": times}, "share_of_bandwidth": 0.41}
            for case, times in (("equal lengths", 3.9), ("natural lengths", 4.1))
        ],
        "learner": [{"model": "qwen-0.5b", "work": "sft", "share_of_matrix_peak": 0.39}],
        "step": [{"model": "qwen-0.5b", "peak_ratio": 0.6}],
    }
    judged = targets(found, ["qwen-0.5b"], absent="", peer=True)
    assert [(t["value"], t["reached"]) for t in judged] == [
        (3.9, False), (4.1, True), (0.41, True), (0.39, False), (0.6, True),
    ]  # fmt: skip
    alone = targets(found | {"step": [{"model": "qwen-0.5b"}]}, ["qwen-0.5b"], absent="", peer=False)
    assert alone[-1]["reached"] == "not measured"
    assert "TRL is not installed" in alone[-1]["why"]
    elsewhere = targets(found, ["qwen-0.5b"], absent="this ran on the CPU", peer=True)
    assert {(t["value"], t["reached"], t["why"]) for t in elsewhere} == {
        ("not measured", "not measured", "this ran on the CPU")
    }
