"""Agents across tasks, of which it is planted who is better at what (simulated raters)."""

import numpy as np
import pytest

from tercih.feedback.overview import standings
from tercih.feedback.overview.agents import Standing
from tercih.records import Comparison, Text

TASKS = ("chat", "code", "jokes", "sums")


def judged(seed: int, hole: float = 0.75, count: int = 400, tasks: tuple[str, ...] = TASKS) -> list[Comparison]:
    """Agent x is preferred to y with probability ¾, at jokes with `hole`; eight raters."""
    rng = np.random.default_rng(seed)
    said = []
    for at in range(count):
        task = tasks[at % len(tasks)] if tasks else ""
        columns = {"task": task} if task else {}
        x, y = (
            Text(prompt=f"{at // 2}", completion=f"{name} {at}", origin=name, columns=columns) for name in ("x", "y")
        )
        best = rng.random() < (hole if task == "jokes" else 0.75)
        a, b = (x, y) if at % 3 else (y, x)
        answer = "a" if best == (a is x) else "b"
        said.append(Comparison(a=a, b=b, answer=answer, rater=f"r{rng.integers(8)}"))  # type: ignore[arg-type]
    return said


def best(said: list[Comparison]) -> Standing:
    return standings(said)[0]


def test_the_task_that_the_best_agent_is_bad_at_is_named() -> None:
    found = best(judged(0, hole=0.3))
    assert (found.agent, found.worst) == ("x", "jokes")
    assert found.gap is not None
    assert found.gap.low > 0
    assert found.tasks["jokes"].high < found.tasks["chat"].low
    assert found.overall.low < 0.75 * 0.75 + 0.25 * 0.3 < found.overall.high
    assert found.tasks["code"].n == 100


def test_an_agent_as_good_at_every_task_has_no_worst_one_for_sure() -> None:
    """Though one of four always looks the worst."""
    gaps = [best(judged(seed)).gap for seed in range(20)]
    assert all(gap and gap.value > 0 for gap in gaps)
    assert sum(gap.low > 0 for gap in gaps if gap) <= 2


def test_chances_are_of_bradley_and_terry() -> None:
    found = standings(judged(3, count=2000, tasks=()))
    assert [each.agent for each in found] == ["x", "y"]
    assert found[0].overall.value == pytest.approx(0.75, abs=0.04)
    assert found[0].overall.value + found[1].overall.value == pytest.approx(1)
    assert found[0].tasks == {}
    assert found[0].gap is None


def test_what_has_no_origin_or_one_rater_is_no_contest() -> None:
    items = [Text(prompt="p", completion=name) for name in "ab"]
    with pytest.raises(ValueError, match="different origins"):
        standings([Comparison(a=items[0], b=items[1], answer="a", rater="r")])
    alone = [each for each in judged(0) if each.rater == "r1"]
    with pytest.raises(ValueError, match="two raters"):
        standings(alone)
