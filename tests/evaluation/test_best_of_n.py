import itertools
import math

import numpy as np
import pytest

from tercih.evaluation.best_of_n import (
    best_of_n_distribution,
    best_of_n_estimate,
    best_of_n_kl,
    best_of_n_kl_bound,
)

P = np.array([0.4, 0.1, 0.2, 0.3])
TIED = np.array([1.0, 2.0, 1.0, -1.0])


def _enumerated(p: np.ndarray, score: np.ndarray, n: int) -> np.ndarray:
    """Every n-tuple of draws, the best taken with ties by lot."""
    result = np.zeros_like(p)
    for draw in itertools.product(range(p.size), repeat=n):
        best = [y for y in draw if score[y] == max(score[z] for z in draw)]
        for y in best:
            result[y] += math.prod(p[z] for z in draw) / len(best)
    return result


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("score", [TIED, np.array([3.0, 1.0, 2.0, 0.0]), np.zeros(4)])
def test_the_distribution_equals_enumeration(score: np.ndarray, n: int) -> None:
    exact = best_of_n_distribution(P, score, n)
    assert exact == pytest.approx(_enumerated(P, score, n), abs=1e-12)
    assert exact.sum() == pytest.approx(1.0)


def test_an_answer_the_base_never_gives_is_never_chosen() -> None:
    assert best_of_n_distribution([0.5, 0.5, 0.0], [0.0, 1.0, 2.0], 4)[2] == 0.0


@pytest.mark.parametrize("n", [1, 2, 8, 64])
def test_the_kl_stays_below_its_bound_and_reaches_it_without_atoms(n: int) -> None:
    assert best_of_n_kl(P, TIED, n) <= best_of_n_kl_bound(n) + 1e-12
    fine = np.full(20_000, 1 / 20_000)
    assert best_of_n_kl(fine, np.arange(20_000), n) == pytest.approx(best_of_n_kl_bound(n), abs=1e-2)


def test_the_bound_by_hand() -> None:
    assert best_of_n_kl_bound(1) == 0.0
    assert best_of_n_kl_bound(4) == pytest.approx(math.log(4) - 0.75)
    assert best_of_n_kl(P, np.zeros(4), 8) == pytest.approx(0.0)  # nothing to choose by


@pytest.mark.parametrize("proxy", [[0.3, -1.0, 2.0, 0.9, 5.0], [1.0, 1.0, 0.0, 2.0, 2.0]])
@pytest.mark.parametrize("n", [1, 2, 4, 5])
def test_the_estimate_equals_the_mean_over_all_subsets(proxy: list[float], n: int) -> None:
    gold = np.array([1.0, 7.0, -2.0, 0.5, 3.0])
    subsets = []
    for subset in itertools.combinations(range(5), n):
        best = [i for i in subset if proxy[i] == max(proxy[j] for j in subset)]
        subsets.append(gold[best].mean())
    assert best_of_n_estimate(proxy, gold, n) == pytest.approx(np.mean(subsets))


def test_the_estimate_is_unbiased() -> None:
    gold_of = np.array([0.0, 3.0, 1.0, -2.0])
    expected = best_of_n_distribution(P, TIED, 3) @ gold_of
    draws = np.random.default_rng(0).choice(4, size=(4000, 6), p=P)
    estimates = best_of_n_estimate(TIED[draws], gold_of[draws], 3)
    assert estimates.shape == (4000,)
    assert abs(estimates.mean() - expected) < 4 * estimates.std() / math.sqrt(4000)


def test_many_samples_do_not_overflow() -> None:
    proxy = np.arange(5000.0)
    assert best_of_n_estimate(proxy, proxy, 2500) == pytest.approx(2500 * 5001 / 2501 - 1)  # E max of a subset, less 1


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="n >= 1"):
        best_of_n_kl_bound(0)
    with pytest.raises(ValueError, match="at least 4 samples"):
        best_of_n_estimate([1.0, 2.0], [1.0, 2.0], 4)
    with pytest.raises(ValueError, match="distribution"):
        best_of_n_distribution([0.5, 0.6], [0.0, 1.0], 2)
