from typing import Any

import pytest

from tercih.evaluation.over_optimisation import best_point, over_optimised_from, read_curve
from tercih.evaluation.run_folder import RunFolder
from tercih.evaluation.warning_signs import CHECKS, find_warnings

Row = dict[str, Any]


def contents(**parts: Any) -> RunFolder:
    empty = {"run": {}, "summary": {}, "metrics": {}, "samples": [], "raters": [], "evaluation": {}, "stages": []}
    return RunFolder(**{**empty, **parts})


def curve(golds: list[float], half: float = 0.1) -> list[Row]:
    return [
        {"step": i, "kl": float(i), "proxy": float(i), "gold": g, "gold_low": g - half, "gold_high": g + half}
        for i, g in enumerate(golds)
    ]


def metric(name: str, start: float, end: float, n: int = 20) -> dict[str, list[Row]]:
    return {"ppo": [{"step": i, name: start + (end - start) * i / (n - 1)} for i in range(n)]}


def kinds(run: RunFolder) -> list[str]:
    return [warning.kind for warning in find_warnings(run)]


def test_a_hump_is_found_at_its_summit() -> None:
    points = read_curve(curve([0.0, 1.0, 2.0, 1.0]))
    summit = over_optimised_from(points)
    assert summit is best_point(points)
    assert summit is not None
    assert (summit.step, summit.root_kl) == (2, pytest.approx(2**0.5))


@pytest.mark.parametrize("rows", [curve([0.0, 1.0, 2.0, 1.95]), curve([0.0, 1.0, 2.0]), curve([0.0]), []])
def test_a_fall_within_the_interval_is_no_hump(rows: list[Row]) -> None:
    assert over_optimised_from(read_curve(rows)) is None


def test_a_fall_with_the_proxy_is_no_hump() -> None:
    rows = curve([0.0, 2.0, 1.0])
    rows[-1]["proxy"] = 0.5
    assert over_optimised_from(read_curve(rows)) is None


def test_incomplete_points_are_left_out() -> None:
    assert len(read_curve([*curve([0.0, 1.0]), {"step": 9, "kl": 1.0}, {**curve([1.0])[0], "gold": float("nan")}])) == 2


def hacked(gold_change: float) -> list[Row]:
    return [
        {"gold_base": i * 1.0, "gold_policy": i + gold_change + i % 3 * 0.01, "proxy_base": 0.0, "proxy_policy": 1 + i}
        for i in range(20)
    ]


@pytest.mark.parametrize(
    ("kind", "bad", "good"),
    [
        (
            "over-optimisation",
            {"evaluation": {"curve": curve([0.0, 2.0, 1.0])}},
            {"evaluation": {"curve": curve([0.0, 1.0, 2.0])}},
        ),
        ("reward hacking", {"samples": hacked(-1.0)}, {"samples": hacked(+1.0)}),
        (
            "length drift",
            {"metrics": metric("response_length", 20, 40)},
            {"metrics": metric("response_length", 20, 25)},
        ),
        ("entropy collapse", {"metrics": metric("entropy", 3.0, 0.1)}, {"metrics": metric("entropy", 3.0, 2.0)}),
        (
            "diversity loss",
            {"summary": {"distinct2": {"base": 0.8, "policy": 0.3}}},
            {"summary": {"distinct2": {"base": 0.8, "policy": 0.75}}},
        ),
        (
            "KL over budget",
            {"summary": {"kl_nats": 12.0}, "run": {"config": {"ppo": {"kl_budget": 10}}}},
            {"summary": {"kl_nats": 12.0}, "run": {"config": {"ppo": {"target_kl": 10}}}},
        ),
        ("truncated answers", {"metrics": metric("truncated", 0.0, 0.5)}, {"metrics": metric("truncated", 0.5, 0.0)}),
        (
            "control improved",
            {"run": {"control": "shuffled"}, "summary": {"gold_win_rate": {"value": 0.7, "low": 0.6, "high": 0.8}}},
            {"run": {"control": "none"}, "summary": {"gold_win_rate": {"value": 0.7, "low": 0.6, "high": 0.8}}},
        ),
    ],
)
def test_each_sign_is_seen_where_it_is_and_not_where_it_is_not(kind: str, bad: Row, good: Row) -> None:
    assert kinds(contents(**bad)) == [kind]
    assert kinds(contents(**good)) == []


def test_length_drift_is_seen_in_the_samples_too() -> None:
    samples = [{"base": "three short words", "policy": "these are six or seven words"}] * 12
    assert kinds(contents(samples=samples)) == ["length drift"]


def test_an_empty_run_raises_no_warning_and_every_check_is_listed() -> None:
    assert find_warnings(contents()) == []
    assert len(CHECKS) == 8
