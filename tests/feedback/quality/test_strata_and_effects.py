import math

import numpy as np
import pytest

from tercih.feedback.quality import anchoring, clustered_mean, coverage, leave_out, majority, rake, raked, spread_of
from tercih.feedback.simulated import SimulatedRater
from tercih.records import Comparison, Text

from .planted import crowd, plant


def test_coverage() -> None:
    found = coverage(["x"] * 3 + ["y"], wanted=["x", "y", "z"])
    assert found.counts == {"x": 3, "y": 1, "z": 0}
    assert found.entropy == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(3))
    assert found.n_eff == 4
    assert coverage(["x", "y"]).entropy == pytest.approx(1)
    assert coverage(["x", "y"], weights=[3, 1]).n_eff == pytest.approx(16 / 10)
    assert (coverage(["x"]).entropy, coverage(["x"], wanted=["y"]).entropy) == (1, 0)
    with pytest.raises(ValueError, match="no judgements"):
        coverage([])


def test_one_margin_is_population_over_sample() -> None:
    weights = rake([(["x"] * 5 + ["y"], {"x": 100, "y": 100})])
    assert weights == pytest.approx([0.6] * 5 + [3])


def test_two_margins_are_both_met() -> None:
    rng = np.random.default_rng(0)
    age, place = rng.choice(["young", "old"], 400, p=[0.8, 0.2]), rng.choice(["town", "land"], 400, p=[0.7, 0.3])
    weights = rake([(age.tolist(), {"young": 0.5, "old": 0.5}), (place.tolist(), {"town": 0.4, "land": 0.6})])
    assert weights.mean() == pytest.approx(1)
    assert weights[age == "old"].sum() == pytest.approx(200)
    assert weights[place == "land"].sum() == pytest.approx(240)


def test_raking_needs_every_stratum() -> None:
    with pytest.raises(ValueError, match=r"unknown to the population: \['z'\]; without a judgement: \['y'\]"):
        rake([(["x", "z"], {"x": 1, "y": 1})])
    with pytest.raises(ValueError, match="contradict"):
        rake([(["x", "y"], {"x": 1, "y": 1}), (["u", "v"], {"u": 1, "v": 3})], iterations=50)
    with pytest.raises(ValueError, match="one margin"):
        rake([])


def test_raking_moves_the_mean_by_what_strata_differ_in() -> None:
    values = [1.0] * 30 + [0.0] * 10
    raters = [f"x{at % 3}" for at in range(30)] + [f"y{at % 2}" for at in range(10)]
    strata = ["x"] * 30 + ["y"] * 10
    found = raked(values, raters, strata, {"x": 1, "y": 1})
    assert found.shift.value == pytest.approx(0.5 - 0.75)
    assert found.n_eff.value == pytest.approx(40**2 / (30 * (2 / 3) ** 2 + 10 * 4))
    assert raked(values, raters, strata, {"x": 3, "y": 1}).shift.value == pytest.approx(0)
    with pytest.raises(ValueError, match="two raters or more of every stratum; 'y' has 1"):
        raked(values, ["x0", "x1"] * 15 + ["y"] * 10, strata, {"x": 1, "y": 1})


def test_evenness_over_raters() -> None:
    strata, raters = ["x"] * 3 + ["y"], ["r0", "r0", "r1", "r2"]
    found = spread_of(strata, raters, wanted=["z"])
    assert found.value == pytest.approx(coverage(strata, wanted=["x", "y", "z"]).entropy)
    assert found.low == 0  # a resample may hold one stratum alone
    assert found.clusters == 3


def test_weighted_voices_flow_into_consensus() -> None:
    a, b = (Text(prompt="p", completion=name) for name in "xy")
    said = [Comparison(a=a, b=b, answer=answer, rater=f"r{at}") for at, answer in enumerate(("a", "a", "b"))]
    (belief,) = majority(said, weights=[0.5, 0.5, 2.0])
    assert (belief.p_a, belief.p_b, belief.weight, belief.votes) == (pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0, 3)
    assert majority(said)[0].weight == 1
    with pytest.raises(ValueError, match="one weight"):
        majority(said, weights=[1.0])


def test_clustered_intervals_cover_and_plain_ones_do_not() -> None:
    """100 raters with shares that differ by ±.2, of 20 judgements each."""
    covered, naive = [], []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        share = np.repeat(rng.choice([0.3, 0.7], 100), 20)
        said = rng.random(2000) < share
        found = clustered_mean(said, np.repeat(np.arange(100), 20), resamples=400)
        alone = clustered_mean(said, np.arange(2000), resamples=400)
        covered.append(found.low < 0.5 < found.high)
        naive.append(alone.low < 0.5 < alone.high)
    assert np.mean(covered) >= 0.88
    assert np.mean(naive) < 0.75


def test_clustered_mean_by_hand() -> None:
    found = clustered_mean([1, 0, 1], ["x", "x", "y"], weights=[1, 1, 2])
    assert found.value == pytest.approx(3 / 4)
    assert (found.low, found.high, found.clusters) == (0.5, 1.0, 2)
    assert clustered_mean([1, 0, 1], ["x", "y", "z"], minus=[False, True, True]).value == pytest.approx(0.5)
    with pytest.raises(ValueError, match="two clusters"):
        clustered_mean([1, 0], ["x", "x"])
    with pytest.raises(ValueError, match="equally many"):
        clustered_mean([1, 0], ["x", "y", "z"])
    with pytest.raises(ValueError, match="both sides"):
        anchoring([True, False], [True, True], ["x", "y"])


def test_leaving_out_the_worst_rater_helps_most() -> None:
    inverted = SimulatedRater(name="simulated-hasty", temperature=1e6)
    said = plant([*crowd(4, temperature=0.5), inverted], pairs=300, votes=3)
    raters, pairs = [each.rater for each in said], [str(sorted(each.pair)) for each in said]
    better_J = np.array([("better" in str(each.a.completion)) == (each.answer == "a") for each in said])

    def credit(keep_J: np.ndarray) -> np.ndarray:
        """How right those are who are kept, the same for everybody."""
        return np.full(len(said), better_J[keep_J].mean())

    found = leave_out(raters, credit, pairs)
    assert found[0].name == "simulated-hasty"
    assert found[0].change.value > 0 > found[-1].change.value
    assert sum(each.judgements for each in found) == 900
    assert leave_out(raters, credit, pairs, among=["simulated-hasty"]) == found[:1]
    with pytest.raises(ValueError, match="zoe"):
        leave_out(raters, credit, pairs, among=["zoe"])
    with pytest.raises(ValueError, match="at least two"):
        leave_out(["r"], credit, ["p"])


def test_a_groups_own_judgements_count_only_if_asked() -> None:
    groups, own = ["x", "x", "y", "y"], np.array([1.0, 1.0, 0.0, np.nan])

    def credit(keep_J: np.ndarray) -> np.ndarray:
        return own * (1 if keep_J.all() else 0)

    effects = {each.name: each.change.value for each in leave_out(groups, credit, range(4), own=True)}
    assert effects["y"] == pytest.approx(-2 / 3)
    with pytest.raises(ValueError, match="two clusters"):
        leave_out(groups, credit, range(4))  # of x one counts, for the other is NaN
