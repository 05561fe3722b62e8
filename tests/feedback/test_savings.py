import numpy as np
import pytest

from tercih.feedback.linear import compress, fit_linear, log_likelihood
from tercih.feedback.rehearsal import Problem, rehearse
from tercih.feedback.savings import labels_saved

LABELS = np.array([10, 20, 30, 40])


def curves(*ends: float) -> np.ndarray:
    """Straight lines from 0, one a repetition."""
    return np.outer(ends, LABELS / 40)


def test_savings_by_hand() -> None:
    saved = labels_saved(LABELS, curves(1, 1, 1), curves(2, 2, 2))
    assert (saved.saved, saved.share, saved.labels) == pytest.approx((20, 0.5, 40))  # half as many reach quality 1
    assert saved.low == saved.high == pytest.approx(20)
    lost = labels_saved(LABELS, curves(2, 2, 2), curves(1, 1, 1))
    assert lost.saved == pytest.approx(-20)
    assert lost.high < 0


def test_arms_that_are_alike_save_nothing_and_a_wide_interval_is_not_enough() -> None:
    same = labels_saved(LABELS, curves(1, 2, 3), curves(1, 2, 3))
    assert (same.saved, same.low, same.high) == (0, 0, 0)
    unsure = labels_saved(LABELS, curves(1, 1, 1, 1), curves(2, 0.6, 2, 0.6))
    assert unsure.saved > 0 > unsure.low


def test_savings_refuse() -> None:
    with pytest.raises(ValueError, match="curves"):
        labels_saved(LABELS, curves(1, 1), curves(1, 1, 1))
    with pytest.raises(ValueError, match="two repetitions"):
        labels_saved(LABELS, curves(1), curves(1))
    with pytest.raises(ValueError, match="rise"):
        labels_saved(LABELS[::-1], curves(1, 1), curves(1, 1))


def test_the_linear_fit_is_the_optimum() -> None:
    rng = np.random.default_rng(0)
    phi_ND, target_N = rng.normal(size=(40, 3)), rng.random(40)
    w_D = fit_linear(phi_ND, target_N, ridge=0.5)

    def value(w: np.ndarray) -> float:
        return 40 * log_likelihood(w, phi_ND, target_N) - 0.25 * float(w @ w)

    assert all(value(w_D) > value(w_D + rng.normal(scale=0.01, size=3)) for _ in range(50))


def test_compressing_keeps_the_angles_that_matter() -> None:
    rng = np.random.default_rng(0)
    flat_ND = rng.normal(size=(50, 3)) @ rng.normal(size=(3, 200))
    small = compress(flat_ND, most=8)
    assert small.shape == (50, 8)
    ratio = (flat_ND @ flat_ND.T) / (small @ small.T)
    assert ratio == pytest.approx(np.full((50, 50), ratio[0, 0]), rel=1e-6)


# A problem whose truth is known


def test_d_optimal_saves_labels_where_most_pairs_are_nearly_alike() -> None:
    _, _, savings = rehearse(Problem(), "d_optimal", seeds=8)
    assert savings.low > 0, savings


def test_on_unrelated_features_it_saves_nothing() -> None:
    _, _, savings = rehearse(Problem(pool="unrelated"), "d_optimal", seeds=8)
    assert savings.low <= 0, savings


def test_the_problem_is_the_same_for_every_rule() -> None:
    first, again, savings = rehearse(Problem(prompts=20, labels=40), "random", seeds=3)
    assert first == pytest.approx(again)
    assert savings.saved == 0
