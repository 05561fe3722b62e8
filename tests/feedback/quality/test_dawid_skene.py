import math
from dataclasses import replace

import numpy as np
import pytest

from tercih.feedback.quality import dawid_skene, majority
from tercih.feedback.quality.raters import leaning
from tercih.feedback.simulated import PANEL
from tercih.records import Comparison, Text

from .planted import accuracy, crowd, plant


def pair(answer: str, rater: str = "r", flip: bool = False, **rest: object) -> Comparison:
    x, y = Text(prompt="p", completion="x"), Text(prompt="p", completion="y")
    return Comparison(a=y if flip else x, b=x if flip else y, answer=answer, rater=rater, **rest)


def test_spammers_are_seen_through() -> None:
    gains = []
    for seed in range(5):
        said = plant(crowd(7, temperature=0.7) + crowd(3, lapse=1.0), pairs=600, votes=5, seed=seed)
        fit = dawid_skene(said)
        gains.append(accuracy(fit.consensus) - accuracy(majority(said)))
        spammers = [r for r in fit.raters if "lapse" in r.rater]
        honest = [r for r in fit.raters if "lapse" not in r.rater]
        assert max(r.reliability for r in spammers) < 0.62 < 0.7 < min(r.reliability for r in honest)
        assert max(r.agreement for r in spammers) < min(r.agreement for r in honest)
    assert np.mean(gains) >= 0.03
    assert min(gains) > 0.01


def test_reliability_is_recovered_within_its_error() -> None:
    said = plant(crowd(8, temperature=0.7), pairs=1000, votes=5)
    truth = 1 / (1 + math.exp(-1 / 0.7))
    deviations = [(r.reliability - truth) / r.reliability_se for r in dawid_skene(said).raters]
    assert np.abs(deviations).max() < 4
    assert abs(np.mean(deviations)) < 1.5


def test_who_leans_left_is_found_within_150_judgements_and_harms_nobody() -> None:
    leaner = crowd(1, temperature=0.7, left_bias=math.log(4))
    said = plant(crowd(9, temperature=0.7) + leaner, pairs=375, votes=4)  # 150 judgements each
    fit = dawid_skene(said)
    assert [r.rater for r in leaning(fit.raters)] == [leaner[0].name]
    found = next(r for r in fit.raters if r.rater == leaner[0].name)
    assert found.lean > 3 * found.lean_se
    assert found.left_low > 0.5
    without = dawid_skene([c for c in said if c.rater != leaner[0].name])
    assert accuracy(fit.consensus) >= accuracy(without.consensus) - 0.01


def test_false_alarms_are_rare_where_no_bias_was_planted() -> None:
    alarms = [
        bool(leaning(dawid_skene(plant(crowd(10, temperature=0.7), pairs=150, votes=4, seed=seed)).raters))
        for seed in range(60)
    ]
    assert np.mean(alarms) <= 0.1  # the level is 0.05 for the ten together


@pytest.mark.parametrize("pairs", [12, 200])  # few judgements: the prior weighs
@pytest.mark.parametrize("tie_band", [0.0, 1.5])
def test_the_log_posterior_only_rises(pairs: int, tie_band: float) -> None:
    raters = crowd(5, temperature=1.0) + crowd(3, lapse=1.0) + crowd(4, temperature=0.7, tie_band=tie_band)
    for seed in range(5):
        climbed = dawid_skene(plant(raters, pairs, votes=4, seed=seed), tolerance=1e-12).log_posterior
        assert len(climbed) > 5
        assert np.diff(climbed).min() > -1e-9


def test_the_same_in_whatever_order_and_orientation() -> None:
    said = plant(crowd(5, temperature=0.7) + crowd(2, lapse=1.0), pairs=80, votes=3)
    turn = {"a": "b", "b": "a", "tie": "tie"}
    turned = [
        Comparison(a=c.b, b=c.a, answer=turn[c.answer], rater=c.rater, left=turn[c.left] if c.left else None)
        for c in said
    ]
    before = {(c.a.id, c.b.id): c.p_a for c in dawid_skene(said).consensus}
    after = {(c.b.id, c.a.id): c.p_b for c in dawid_skene(turned[::-1]).consensus}
    assert before.keys() == after.keys()
    assert max(abs(before[key] - after[key]) for key in before) < 1e-9


def test_a_pair_asked_both_ways_round_is_one_pair() -> None:
    (belief,) = majority([pair("a"), pair("b", flip=True), pair("tie")])
    assert (belief.p_a, belief.p_b, belief.votes) == (2 / 3, 0.0, 3)
    (belief,) = dawid_skene([pair("a", "r", left="a"), pair("b", "s", flip=True, left="b")]).consensus
    assert belief.p_a > 0.6
    assert belief.a.completion == "x"


def test_ties_keep_their_mass_and_are_absent_where_nobody_said_tie() -> None:
    judged = [pair("tie", rater, left="a") for rater in "rst"]
    (belief,) = dawid_skene(judged).consensus
    assert belief.p_a == pytest.approx(belief.p_b, abs=1e-6)
    assert 1 - belief.p_a - belief.p_b > 0.5
    for belief in dawid_skene(plant(crowd(4), pairs=30, votes=3)).consensus:
        assert belief.p_a + belief.p_b == pytest.approx(1)


def test_disputed_pairs_are_not_taken_for_ties() -> None:
    gaps = np.abs(np.random.default_rng(0).normal(size=1500)) * 2**0.5
    for seed in range(3):
        said = plant(PANEL, pairs=1500, votes=5, gap=gaps, seed=seed)
        ties = [1 - c.p_a - c.p_b for c in dawid_skene(said).consensus]
        assert 0 < np.mean([c.answer == "tie" for c in said]) < 0.03
        assert np.mean(ties) < 0.03


def test_ties_that_all_see_are_believed() -> None:
    undecided = crowd(6, temperature=0.7, tie_band=0.5)
    close, clear = plant(undecided, pairs=100, votes=3, gap=0.2), plant(undecided, pairs=200, votes=3, gap=2.0)
    clear = [replace(c, a=replace(c.a, prompt="clear"), b=replace(c.b, prompt="clear")) for c in clear]
    beliefs = dawid_skene(close + clear).consensus
    assert min(1 - c.p_a - c.p_b for c in beliefs[:100]) > 0.9
    assert max(1 - c.p_a - c.p_b for c in beliefs[100:]) < 0.1


def test_chosen_first_without_a_recorded_order_is_no_lean() -> None:
    said = [
        Comparison(a=Text(prompt="p", completion=f"x{i}"), b=Text(prompt="p", completion=f"y{i}"), answer="a", rater=r)
        for i in range(200)
        for r in "rs"
    ]
    fit = dawid_skene(said)
    assert all(r.left_p == 1 and math.isnan(r.left_rate) and abs(r.lean) < 4 * r.lean_se for r in fit.raters)
    assert all(r.reliability > 0.95 for r in fit.raters)
    assert all(c.p_a > 0.95 for c in fit.consensus)


def test_reports_of_a_rater_alone() -> None:
    (row,) = dawid_skene([pair("a", left="b")]).raters
    assert math.isnan(row.agreement)
    assert (row.left_rate, row.left_low, row.left_p) == (0.0, 0.0, 1.0)
    assert row.left_high == pytest.approx(0.975)


def test_wrong_input() -> None:
    with pytest.raises(ValueError, match="no comparisons"):
        dawid_skene([])
    with pytest.raises(ValueError, match="smoothing"):
        dawid_skene([pair("a")], smoothing=0)
    same = Text(prompt="p", completion="x")
    with pytest.raises(ValueError, match="read the same"):
        majority([Comparison(a=same, b=same, answer="a", rater="r")])
