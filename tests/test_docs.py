"""The documentation is true: names, options, links, the file tree and every Python block are checked against the code.

A Python block is preceded by a comment that says what the test does with it:

<!-- file: NAME.py -->            written to a file of that name and imported; blocks and commands after it may use it
<!-- run: a→b; c→d -->            run, after replacing what would take long; just "run:" where nothing does
<!-- not run: REASON -->          left alone
"""

import json
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from commands.workshop import tercih, write_model, write_rows
from tercih import config
from tercih.algorithms import METHODS
from tercih.algorithms.dpo import DPO
from tercih.cli import COMMANDS
from tercih.commands import (
    aggregate,
    chat,
    clips,
    doctor,
    exchange,
    folders,
    judge,
    key,
    leakage,
    methods,
    pick,
    profile,
    recipes,
    serve,
    teacher,
    verify,
    worker,
)
from tercih.commands.files import module_at, named
from tercih.commands.train import Train, method_called
from tercih.commands.train_options import configure
from tercih.environments import TEXT_TASKS
from tercih.evaluation.warning_signs import CHECKS, CONTROL_CHECKS
from tercih.recipes import RECIPES
from tercih.recipes.presets import PRESETS
from tercih.sources import SOURCES, load

ROOT = Path(__file__).parents[1]
READMES = [ROOT / name for name in ("README.md", "README.tr.md", "README.zh-TW.md")]
DOCS = [*READMES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
ENGLISH = [path for path in DOCS if path not in READMES[1:]]
FENCE = re.compile(r"(?:^<!-- ([^\n]*) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!`)!?\[[^\]\n]*\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")
MEASURED = re.compile(r"\{\{MEASURED[^}]*\}\}")
TREE_LINE = re.compile(r"^( *)([\w.\-/*]+?)(/?)(?:  +(\S.*))?$")
LEFT_OUT = {"py.typed", "__init__.py", "__pycache__"}  # of the tree
INVISIBLE = {".git", ".venv", "runs", "build", "dist"}

PAIRS = [{"prompt": f"what is {x}", "chosen": f" good {x}", "rejected": f" bad {x} bad"} for x in "abcdefgh"]
VOTES = [pair | {"rater": rater} for pair in PAIRS for rater in ("rater-1", "rater-2", "rater-3")]
PROMPTS = [{"prompt": f"what is {x}", "wanted": x} for x in "abcdefgh"]


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block; `place` is FILE:LINE of its text, `note` the comment above it."""

    place: str
    language: str
    note: str
    text: str


def blocks(path: Path) -> Iterator[Block]:
    content = path.read_text()
    for match in FENCE.finditer(content):
        line = content[: match.start(3)].count("\n") + 1
        yield Block(f"{path.relative_to(ROOT)}:{line}", match[2], match[1] or "", match[3])


def python_blocks(path: Path) -> list[Block]:
    return [block for block in blocks(path) if block.language == "python"]


def documented_commands() -> list[tuple[str, list[str]]]:
    """(place, words) of every `tercih …` in a shell block; a comment ends a line and a backslash continues it."""
    found = []
    for path in DOCS:
        for block in blocks(path):
            if block.language not in ("bash", "sh", "console"):
                continue
            for line in block.text.replace("\\\n", " ").splitlines():
                words = shlex.split(line.removeprefix("$ "), comments=True)
                if words[:1] == ["tercih"]:
                    found.append((block.place, words[1:]))
    return found


def text_of(paths: Sequence[Path]) -> str:
    return "\n".join(path.read_text() for path in paths)


# Names and options


def test_everything_with_a_name_is_documented() -> None:
    text = text_of(ENGLISH)
    names = {
        "command": [f"tercih {name}" for name in COMMANDS],
        "method": METHODS,
        "recipe": RECIPES,
        "source": [f"{name}:" for name in SOURCES],
        "task": TEXT_TASKS,
        "preset": PRESETS,
        "warning": CHECKS | CONTROL_CHECKS,
    }
    missing = [
        f"{kind} {name}" for kind, all_of_them in names.items() for name in all_of_them if f"`{name}" not in text
    ]
    assert not missing, f"not in the documentation: {', '.join(missing)}"


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_a_page_with_all_its_options_and_defaults(name: str) -> None:
    page = (ROOT / "docs" / "methods" / f"{name}.md").read_text().replace(r"\|", "|")
    for f in fields(METHODS[name]):  # type: ignore[arg-type]
        rows = [row for row in page.splitlines() if row.startswith(f"| `--method.{f.name.replace('_', '-')}` |")]
        assert rows, f"{f.name} is not in the table of options"
        default = "" if f.default == "" else f"{f.default:g}" if isinstance(f.default, float) else str(f.default)
        assert f"| `{default}` |" in rows[0], f"{f.name}: the default is {default}; the page says {rows[0]}"
    assert "arXiv" in page or name == "sft"
    assert "tercih verify" in page


def test_the_options_of_training_in_the_guide_exist_with_these_defaults() -> None:
    guide = (ROOT / "docs" / "guide.md").read_text()
    (section,) = re.findall(r"^### Options of training\n(.*?)^###", guide, re.M | re.S)
    rows = [[cell.strip() for cell in row.split("|")[1:3]] for row in section.splitlines() if row.startswith("| `--")]
    assert len(rows) > 20
    train = Train(method=DPO(), model="m", data=("d",), out=Path("o"))
    for options, defaults in rows:
        for option, default in zip(re.findall(r"`--([\w.-]+)`", options), defaults.split(", "), strict=True):
            if option == "preset":  # it is no field, but gives their defaults
                continue
            value: Any = train
            for name in option.replace("-", "_").split("."):
                value = getattr(value, name)
            if isinstance(value, bool) or value in (None, "", ()):
                value = "off" if value is False else ("none", "", "1 each")
            said = (f"{value:g}",) if isinstance(value, int | float) else (value,) if isinstance(value, str) else value
            assert default in said, f"--{option}: the default is {value}, the guide says {default}"


def test_all_pages_are_in_the_table_of_contents() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    pages = [path.relative_to(ROOT / "docs") for path in sorted((ROOT / "docs").rglob("*.md"))]
    missing = [str(page) for page in pages if page.name != "index.md" and f"({page})" not in index]
    assert not missing


@pytest.mark.parametrize("name", PRESETS)
def test_the_table_of_presets_is_what_the_presets_say(name: str) -> None:
    (method,) = (known for known, kind in METHODS.items() if kind is type(PRESETS[name].policy.method))
    page = (ROOT / "docs" / "methods" / f"{method}.md").read_text()
    head = next(row for row in page.splitlines() if row.startswith("| setting |"))
    column = [cell.strip() for cell in head.split("|")].index(f"`{name}`")
    rows = [[cell.strip() for cell in row.split("|")] for row in page.splitlines() if row.startswith("| `")]
    values = {row[1].strip("`"): row[column] for row in rows if len(row) > column}
    preset = PRESETS[name]
    for place, value in values.items():
        owner: Any = preset
        if "." not in place or place.split(".")[0] not in ("policy", "sampling", "reward"):
            continue
        for part in place.split("."):
            owner = getattr(owner, part)
        assert value == f"{owner:g}" if isinstance(owner, float) else value == str(owner), place
    assert len(values) >= 5


def parse(words: Sequence[str], run_json: Path) -> None:
    """What the command line would make of it; nothing is run. `run_json` stands in for any configuration file."""
    name, rest = words[0], list(words[1:])
    if rest[:1] in (["--help"], ["-h"]) or name == "--version":
        return
    if "--config" in rest:
        rest[rest.index("--config") + 1] = str(run_json)
    program = f"tercih {name}"
    if name in ("run", "quickstart"):
        recipe, rest = ("quickstart", rest) if name == "quickstart" else (rest[0] if rest else "", rest[1:])
        if recipe in RECIPES and "--help" not in rest:
            recipes.configure(import_module(RECIPES[recipe]), recipe, rest, program)
        return
    if name == "train":
        kind = METHODS["dpo"] if ".py:" in rest[0] else method_called(rest[0])
        if "--help" not in rest:
            configure(kind, rest[0], rest[1:])
        return
    if name == "profile":
        profile.options(rest)
        return
    if name == "doctor" and rest and not rest[0].startswith("-"):
        assert rest[0] in RECIPES
        return
    kinds = {
        "methods": methods.Methods,
        "verify": verify.Verify, "doctor": doctor.Doctor, "chat": chat.Chat, "report": folders.Report,
        "merge": folders.Merge, "push": folders.Push, "aggregate": aggregate.Aggregate, "worker": worker.Worker,
        "export": exchange.Export, "import": exchange.Import, "backup": exchange.Backup,
        "serve": serve.Serve, "key": key.NewKey, "clips": clips.Clips,
        "pick": pick.Pick, "teacher": teacher.TeacherLike, "leakage": leakage.Leakage,
        "judge": judge.JudgeData,
    }  # fmt: skip
    config.from_command_line(kinds[name], rest, program=program)


def test_every_documented_command_is_understood(tmp_path: Path) -> None:
    run_json = tmp_path / "run.json"
    words = ["--model", "MODEL", "--data", "pairs.jsonl", "--out", "runs/dpo"]
    earlier = asdict(config.from_command_line(Train[DPO], words, program="tercih train dpo"))
    run_json.write_text(json.dumps({"config": {k: v for k, v in earlier.items() if k != "out"}}, default=str))
    commands = documented_commands()
    assert len(commands) > 20
    for place, words in commands:
        if not words:
            continue
        try:
            parse(words, run_json)
        except (SystemExit, ValueError, KeyError) as error:
            pytest.fail(f"{place}: tercih {' '.join(words)}: {error}")


# Links and the tree


def anchors(path: Path) -> set[str]:
    """Of every heading, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    wrong = []
    for match in LINK.finditer(re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S)):
        target = match[1] or match[2]
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        place = (path.parent / file).resolve() if file else path
        if not place.exists() or (anchor and anchor not in anchors(place)):
            wrong.append(target)
    assert not wrong


def printed_tree(path: Path) -> dict[str, str]:
    """Path → description of the tree that a README prints."""
    (block,) = (b for b in blocks(path) if b.note == "tree")
    found: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in block.text.splitlines():
        match = TREE_LINE.match(line)
        assert match, f"{block.place}: {line!r}"
        depth, name = len(match[1]), match[2] + match[3]
        above = [(d, n) for d, n in above if d < depth]
        whole = "".join(n for _, n in above) + name
        found[whole] = match[4] or ""
        if match[3]:
            above.append((depth, name))
    return found


def real_tree() -> set[str]:
    """The root, the rooms of the house, and the folders of tests and docs."""

    def inside(folder: Path) -> Iterator[Path]:
        for child in folder.iterdir():
            if child.name not in LEFT_OUT | INVISIBLE and not child.name.endswith(".egg-info"):
                yield child

    top = {child for child in inside(ROOT) if not child.name.startswith(".")}
    house = set(inside(ROOT / "src" / "tercih")) | {ROOT / "src" / "tercih"}
    docs = set(inside(ROOT / "docs"))
    return {str(path.relative_to(ROOT)) + ("/" if path.is_dir() else "") for path in top | house | docs}


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.name)
def test_the_printed_tree_is_the_real_one(path: Path) -> None:
    printed, real = printed_tree(path), real_tree()
    assert set(printed) == real, f"not printed: {sorted(real - set(printed))}; not there: {sorted(set(printed) - real)}"
    assert all(text for name, text in printed.items() if name not in ("src/", "docs/")), "every line says what it is"


@pytest.mark.parametrize("path", READMES[1:], ids=lambda path: path.name)
def test_translations_have_the_same_code_and_numbers(path: Path) -> None:
    english, other = ([b for b in blocks(p) if b.note != "tree"] for p in (READMES[0], path))
    for ours, theirs in zip(english, other, strict=True):
        strip = re.compile(r"\s*#.*$", re.MULTILINE)  # comments are translated
        assert (ours.language, ours.note) == (theirs.language, theirs.note), theirs.place
        assert strip.sub("", ours.text) == strip.sub("", theirs.text), theirs.place
    assert first_table(READMES[0]) == first_table(path)


def first_table(path: Path) -> list[list[str]]:
    """The cells of the first table, without its heading and first column."""
    rows = [line for line in path.read_text().split("\n## ")[0].splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row.split("|")[2:]] for row in rows[1:]]


def test_no_measured_number_is_still_to_be_filled_in() -> None:
    marks = [f"{path.relative_to(ROOT)}: {mark}" for path in DOCS for mark in MEASURED.findall(path.read_text())]
    assert not marks, "these wait for a number from a real run:\n" + "\n".join(marks)


# Code


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, with what the examples assume: a tiny model, and small data of every kind."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # models this small are slower on several
    write_model(tmp_path / "MODEL")
    write_rows(tmp_path / "pairs.jsonl", PAIRS)
    write_rows(tmp_path / "prompts.jsonl", PROMPTS)
    write_rows(tmp_path / "votes.jsonl", VOTES)
    (tmp_path / "pairs.tsv").write_text("prompt\tbetter\tworse\trater\nwhat is a\t good a\t bad a\trater-1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    torch.set_num_threads(threads)


def place_files(path: Path, desk: Path) -> None:
    for block in python_blocks(path):
        if block.note.startswith("file: "):
            (desk / block.note.removeprefix("file: ").strip()).write_text(block.text)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_python_block_says_whether_it_runs(path: Path) -> None:
    for block in python_blocks(path):
        assert re.match(r"(file: \w+\.py|run:|not run: \w)", block.note), f"{block.place} has no note"


def documented_code() -> list[Any]:
    return [
        pytest.param(path, block, id=block.place, marks=[pytest.mark.learns])
        for path in ENGLISH
        for block in python_blocks(path)
        if not block.note.startswith("not run")
    ]


@pytest.mark.parametrize(("path", "block"), documented_code())
def test_python_blocks_run(path: Path, block: Block, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place_files(path, desk)
    before = set(sys.modules)
    text = block.text
    if block.note.startswith("run:"):
        for change in filter(None, block.note.removeprefix("run:").strip().split("; ")):
            long, short = change.split("→")
            assert long in text, f"{block.place}: there is no {long!r} to replace"
            text = text.replace(long, short)
        exec(compile(text, block.place, "exec"), {"__name__": "__main__"})
    else:
        module_at(desk / block.note.removeprefix("file: ").strip())
    for name in set(sys.modules) - before:  # the next document may have a file of the same name
        if getattr(sys.modules[name], "__file__", None) and str(desk) in str(sys.modules[name].__file__):
            monkeypatch.delitem(sys.modules, name)


@pytest.fixture
def contributed(desk: Path) -> Path:
    place_files(ROOT / "CONTRIBUTING.md", desk)
    return desk


def last_metrics(folder: Path) -> dict[str, float]:
    return dict(json.loads((folder / "model" / "metrics.jsonl").read_text().splitlines()[-1]))


def test_simpo_formula(contributed: Path) -> None:
    simpo_loss = named("simpo.py:simpo_loss")
    sure = torch.tensor([1.0, 0.0])
    even = simpo_loss(torch.zeros(2), sure, gamma=0.0)
    assert torch.allclose(even, torch.tensor(2.0).log())
    led = simpo_loss(torch.tensor([1.0, -1.0]), sure, gamma=1.0)  # the difference is γ for either side
    assert torch.allclose(led, torch.tensor(2.0).log())
    behind = simpo_loss(torch.tensor([-1.0, 1.0]), sure, gamma=1.0)
    assert torch.allclose(behind, torch.tensor(2.0).exp().log1p())


@pytest.mark.learns
def test_the_contributed_method_trains(contributed: Path) -> None:
    options = ["--method.gamma", 0.5, "--rows", 4, "--epochs", 6, "--optimisation.lr", 0.02]
    outcome = tercih("train", "simpo.py:SimPO", "--model", "MODEL", "--data", "pairs.jsonl", "--out", "out", *options)
    assert outcome.status == 0, outcome.err
    assert last_metrics(contributed / "out")["accuracy"] == 1.0
    assert (contributed / "out" / "model" / "model.safetensors").exists()


def test_the_contributed_source_is_read(contributed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "tsv", named("tsv.py:read"))
    (record,) = load("tsv:pairs.tsv")
    assert (record.a.completion, record.b.completion, record.rater) == (" good a", " bad a", "rater-1")  # type: ignore[union-attr]
    (contributed / "pairs.tsv").write_text("prompt\tbetter\tworse\trater\nwhat is a\t good a\t\trater-1\n")
    with pytest.raises(ValueError, match=r"pairs\.tsv, row 2: column 'worse' is missing or empty"):
        load("tsv:pairs.tsv")


@pytest.mark.learns
def test_the_contributed_reward_trains_a_policy(contributed: Path) -> None:
    size = ["--steps", 1, "--rows", 4, "--sampling.max-new-tokens", 8]
    where = ["--model", "MODEL", "--data", "prompts.jsonl", "--out", "out"]
    outcome = tercih("train", "ppo", *where, "--reward", "wordy.py:names", *size)
    assert outcome.status == 0, outcome.err
    assert 0 <= last_metrics(contributed / "out")["reward"] <= 1


@pytest.mark.learns
def test_the_contributed_task_goes_through_the_loop(contributed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TEXT_TASKS, "colours", named("colours.py:task"))
    outcome = tercih("run", "colours_loop.py", "--model", "MODEL", "--seed", 1, "--out", "out")
    assert outcome.status == 0, outcome.err
    summary = json.loads((contributed / "out" / "summary.json").read_text())
    assert summary["gold_win_rate"]["n"] == 2
    assert (contributed / "out" / "report.html").exists()
