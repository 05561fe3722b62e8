"""The harness of the benchmarks, with toys in place of training programs: no peer is needed."""

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.bench import GENERATE, Disagreement, Work, agree
from harness.ratios import paired_ratio
from harness.texts import Size, demonstrations, preferences, wasted
from harness.turns import Side, SideFailed, alternate

TOY = Path(__file__).with_name("toy_side.py")
ROOT = Path(__file__).parents[2]

Open = Callable[..., Side]


@pytest.fixture
def toy(tmp_path: Path) -> Open:
    def open_toy(name: str, *, seconds: float = 0.0, loss: float = 1.0, **more: Any) -> Side:
        case = {"name": name, "seconds": seconds, "loss": loss, "diary": str(tmp_path / "diary"), **more}
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(case))
        return Side(sys.executable, TOY, path, threads=1)

    return open_toy


def test_sides_take_turns_and_who_begins_changes(toy: Open, tmp_path: Path) -> None:
    with toy("a") as a, toy("b") as b:
        pairs = alternate(a, b, rounds=3, warm=1)
    assert (tmp_path / "diary").read_text() == "ab" + "abba" * 2
    assert [(x["step"], y["step"]) for x, y in pairs] == [(2, 2), (3, 3), (4, 4)]


def test_only_the_repetition_is_timed(toy: Open) -> None:
    with toy("quick", seconds=0.02) as quick, toy("slow", seconds=0.06) as slow:
        pairs = alternate(quick, slow, rounds=5)
    assert all(a["seconds"] >= 0.02 for a, _ in pairs)
    assert all(a["cpu"] < a["seconds"] for a, _ in pairs)  # it slept
    ratio = paired_ratio([b["seconds"] for _, b in pairs], [a["seconds"] for a, _ in pairs])
    assert 1.5 < ratio.median < 3.5


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux's /proc")
def test_peak_memory_is_that_of_the_repetition(toy: Open) -> None:
    with toy("small") as small, toy("large", bytes=64 * 2**20) as large:
        [(a, b)] = alternate(small, large, rounds=1)
        assert a["peak"] - small.opened["memory"] < 8 * 2**20
        assert 56 * 2**20 < b["peak"] - large.opened["memory"] < 80 * 2**20


@pytest.mark.parametrize("step", [0, 1])
def test_a_side_that_breaks_says_why(toy: Open, step: int) -> None:
    with pytest.raises(SideFailed, match="the toy is broken"), toy("a", breaks_at=step) as side:
        side.go()


def test_sides_that_disagree_are_not_compared() -> None:
    work = Work(benchmark="sft", name="equal lengths", model="m", case={}, peer=GENERATE, agree=True)
    agree(work, {"loss": 1.0, "gradient_norm": 2.0}, {"loss": 1.0001, "gradient_norm": 2.0001})
    with pytest.raises(Disagreement, match=r"gradient_norm of the first step is 2 here and 2\.1"):
        agree(work, {"loss": 1.0, "gradient_norm": 2.0}, {"loss": 1.0, "gradient_norm": 2.1})


def test_a_ratio_is_that_of_pairs_and_its_interval_covers_the_truth() -> None:
    dice, covered = random.Random(0), 0
    for _ in range(100):
        load = [dice.uniform(1, 5) for _ in range(15)]  # disturbs both sides of a pair alike
        ours = [x * dice.lognormvariate(0, 0.1) for x in load]
        theirs = [2 * x * dice.lognormvariate(0, 0.1) for x in load]
        ratio = paired_ratio(theirs, ours, resamples=400)
        assert 1.5 < ratio.median < 2.7
        covered += ratio.low <= 2 <= ratio.high
    assert covered >= 85


def test_a_ratio_needs_pairs() -> None:
    with pytest.raises(ValueError, match="no repetitions"):
        paired_ratio([], [])
    with pytest.raises(ValueError):
        paired_ratio([1.0], [1.0, 2.0])


def test_data_are_half_padding_or_not_at_all() -> None:
    words, size = ["one", "two", "three"], Size(rows=16, length=256)
    for equal, low, high in ((False, 0.45, 0.55), (True, 0.0, 0.05)):
        rows = demonstrations(words, size, equal=equal)
        assert low <= wasted([len(f"{r['prompt']}{r['completion']}".split()) + 2 for r in rows]) <= high
        pairs = preferences(words, size, equal=equal)
        prompts = [len(p["prompt"].split()) + 1 for p in pairs]
        lengths = [
            n + len(p[side].split()) + 1 for side in ("chosen", "rejected") for n, p in zip(prompts, pairs, strict=True)
        ]
        assert low <= wasted(lengths, prompts) <= high


def test_the_benchmarks_explain_themselves_without_their_peers() -> None:
    done = subprocess.run([sys.executable, ROOT / "benchmarks" / "run.py", "--help"], capture_output=True, text=True)
    assert "python benchmarks/run.py" in done.stdout, done.stderr  # it imports them all


def test_nothing_of_ours_imports_a_peer() -> None:
    for file in (ROOT / "src").rglob("*.py"):
        assert not re.search(r"^\s*(import|from) (trl|stable_baselines3)\b", file.read_text(), re.MULTILINE), file
