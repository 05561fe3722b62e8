"""Learned again without each rater and each source, where it is planted which of them harm (simulated raters)."""

import numpy as np
import pytest

from tercih.feedback.overview.learned import KIND, TOLD, learned, points
from tercih.feedback.overview.without import without
from tercih.feedback.quality import leave_out
from tercih.feedback.voices import voices_of
from tercih.records import Comparison, Text

D = 24


def judged(seed: int, fault: str, features: bool) -> tuple[list[Comparison], dict[str, np.ndarray] | None]:
    """400 pairs, three raters each; r0 answers as the others do, the other way round, or by a coin."""
    rng = np.random.default_rng(seed)
    w_D = rng.normal(size=D) * 4 / np.sqrt(D)
    said, known = [], {}
    for at in range(300):
        first, second = rng.choice(40, 2, replace=False)
        prompt = f"p {at}" if features else "p"
        a, b = (Text(prompt=prompt, completion=f"c {name}") for name in (first, second))
        known[a.id], known[b.id] = rng.normal(size=(2, D))
        gap = (known[a.id] - known[b.id]) @ w_D if features else (first - second) / 10
        for rater in range(3):
            p = 1 / (1 + np.exp(-gap))
            if rater == 0:
                p = {"none": p, "inverts": 1 - p, "coin": 0.5}[fault]
            said.append(Comparison(a=a, b=b, answer="a" if rng.random() < p else "b", rater=f"r{rater}"))
    return said, known if features else None


def low_ends(fault: str, features: bool, seeds: range) -> dict[str, list[float]]:
    """Of each rater: the lower ends of what leaving them out changes."""
    ends: dict[str, list[float]] = {"r0": [], "r1": [], "r2": []}
    for seed in seeds:
        said, known = judged(seed, fault, features)
        voices = voices_of(said, known)
        for each in leave_out([one.rater for one in said], voices.credit, voices.pair_J):
            ends[each.name].append(each.change.low)
    return ends


@pytest.mark.parametrize("features", [True, False])
def test_without_a_rater_who_inverts_more_is_foretold(features: bool) -> None:
    ends = low_ends("inverts", features, range(3))
    assert sum(low > 0 for low in ends["r0"]) >= 2
    assert sum(low > 0 for name in ("r1", "r2") for low in ends[name]) <= 1


@pytest.mark.parametrize("features", [True, False])
def test_without_a_good_rater_it_is_not(features: bool) -> None:
    ends = low_ends("none", features, range(4))
    assert sum(low > 0 for own in ends.values() for low in own) <= 1


def test_a_spammer_costs_accuracy_on_average() -> None:
    changes: dict[str, list[float]] = {"none": [], "coin": []}
    for fault, found in changes.items():
        for seed in range(5):
            said, known = judged(seed, fault, True)
            voices = voices_of(said, known)
            effects = leave_out([one.rater for one in said], voices.credit, voices.pair_J, among=["r0"])
            found.append(effects[0].change.value)
    assert np.mean(changes["coin"]) > 0.005
    assert np.mean(changes["coin"]) > np.mean(changes["none"])


def sourced(seed: int, harmful: bool) -> list[tuple[Comparison, str]]:
    said, _ = judged(seed, "none", False)
    rng = np.random.default_rng(seed)
    rows = []
    for at, each in enumerate(said):
        bad = at % 3 == 2
        answer = {"a": "b", "b": "a"}[each.answer] if bad and harmful and rng.random() < 0.9 else each.answer
        turned = Comparison(
            a=each.a, b=each.b, answer=answer, rater=each.rater, sampler="self-play" if bad else "random"
        )  # type: ignore[arg-type]
        rows.append((turned, "pair"))
    return rows


def test_a_source_that_teaches_the_opposite_turns_more_pairs_than_one_that_does_not() -> None:
    found = {harmful: without(sourced(0, harmful)) for harmful in (True, False)}
    turned = {}
    for harmful, result in found.items():
        assert [row["by"] for row in result["sources"]] == ["sampler", "sampler"]  # one kind, one origin
        rows = {row["name"]: row for row in result["sources"]}
        assert rows["self-play"]["judgements"] == 300
        turned[harmful] = rows["self-play"]["turned"]
    assert turned[True] > turned[False]


def test_the_curve_ends_with_all_answers_and_is_better_than_a_coin() -> None:
    said, _ = judged(0, "none", False)
    result = without([(each, "pair") for each in said])
    assert [row["answers"] for row in result["curve"]] == [180, 360, 540, 720, 900]
    assert result["curve"][-1]["accuracy"]["low"] > 0.5
    shuffled = np.random.default_rng(0).permutation(["a", "b"] * 450)
    coin = [(Comparison(a=e.a, b=e.b, answer=c, rater=e.rater), "pair") for e, c in zip(said, shuffled, strict=True)]
    assert without(coin)["curve"][-1]["accuracy"]["low"] <= 0.5


def test_what_is_kept_becomes_figures() -> None:
    said, _ = judged(0, "inverts", False)
    kept = {KIND: {"result": without([(each, "pair") for each in said]), "time": 5.0}}
    found = learned(kept)
    assert not found.told
    assert [each.name for each in found.figures] == ["learning", "source"]
    assert found.figures[0].n == 900
    assert "one source" in found.figures[1].missing
    assert found.raters[0].name == "r0"
    run = {"curve": [{"answers": 10, "accuracy": {"value": 0.7, "low": 0.6, "high": 0.8}}]}
    both = learned(kept | {TOLD: {"result": run, "time": 6.0}})
    assert both.told
    assert both.figures[0].value == 0.7
    assert all("tercih worker" in each.missing for each in learned({}).figures)


@pytest.mark.parametrize(
    "result",
    [{}, {"curve": 5}, {"curve": [3]}, {"curve": [{"answers": 0, "accuracy": {"value": 1, "low": 1, "high": 1}}]},
     {"curve": [{"answers": 9, "accuracy": {"value": None, "low": 1, "high": 1}}]}],
)  # fmt: skip
def test_what_is_no_curve_is_refused(result: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="curve"):
        points(result)


def test_too_few_voices() -> None:
    with pytest.raises(ValueError, match="only 0 pairs"):
        voices_of([])
