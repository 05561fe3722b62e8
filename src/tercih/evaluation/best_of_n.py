"""Best-of-n sampling in closed form: draw n answers, keep the one that scores highest; ties are broken by lot."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Floats = NDArray[np.float64]


def best_of_n_kl_bound(n: int) -> float:
    """log n − (n−1)/n nats: KL(best-of-n ‖ base) for scores without ties, an upper bound in general.

    Stated by Stiennon et al. (2020, app. G.3); Beirami et al. (2024) prove that it is a bound.
    """
    _check(n)
    return math.log(n) - (n - 1) / n


def best_of_n_distribution(p: ArrayLike, score: ArrayLike, n: int) -> Floats:
    """What best-of-n draws when the base draws answer y with probability `p` [Y] and `score` [Y] ranks the answers.

    P(the best has score s) = F(s)ⁿ − F(s⁻)ⁿ; answers of equal score share it in proportion to `p`.
    """
    _check(n)
    base, value = np.asarray(p, dtype=np.float64), np.asarray(score, dtype=np.float64)
    if base.shape != value.shape or base.ndim != 1:
        raise ValueError(f"p and score must be equal rows, got {base.shape} and {value.shape}")
    if (base < 0).any() or abs(base.sum() - 1) > 1e-6:
        raise ValueError(f"p must be a distribution; its sum is {base.sum()}")
    _, level = np.unique(value, return_inverse=True)
    mass = np.bincount(level, weights=base)
    below = np.concatenate([[0.0], np.cumsum(mass)])
    best = np.diff(np.minimum(below, 1.0) ** n)
    gain = np.divide(best, mass, out=np.zeros_like(mass), where=mass > 0)
    return np.asarray(base * gain[level], dtype=np.float64)


def best_of_n_kl(p: ArrayLike, score: ArrayLike, n: int) -> float:
    """The exact KL(best-of-n ‖ base) in nats."""
    return float(special.rel_entr(best_of_n_distribution(p, score, n), np.asarray(p, dtype=np.float64)).sum())


def best_of_n_estimate(proxy: ArrayLike, gold: ArrayLike, n: int) -> Floats:
    """The unbiased estimate of E[gold of the best of n by proxy], a prompt, from N ≥ n samples of it.

    `proxy` and `gold` are [P, N] (or [N]); the result is [P] (or a scalar), ready for `bootstrap_mean` over prompts.
    Averages over all C(N, n) subsets at once: the i-th smallest proxy is the best of C(i−1, n−1) of them (Nakano et
    al. 2021, app. I; Gao et al. 2022, §2). Equal proxies share their weight evenly.
    """
    _check(n)
    ranks, worth = np.asarray(proxy, dtype=np.float64), np.asarray(gold, dtype=np.float64)
    if ranks.shape != worth.shape or ranks.ndim not in (1, 2):
        raise ValueError(f"proxy and gold must be two equal [P, N] arrays, got {ranks.shape} and {worth.shape}")
    if ranks.shape[-1] < n:
        raise ValueError(f"best of {n} needs at least {n} samples a prompt, got {ranks.shape[-1]}")
    weight = _weights(ranks.shape[-1], n)
    if ranks.ndim == 1:
        return np.asarray(_one_prompt(ranks, worth, weight))
    return np.array([_one_prompt(r, w, weight) for r, w in zip(ranks, worth, strict=True)])


def _one_prompt(proxy: Floats, gold: Floats, weight: Floats) -> float:
    _, level, count = np.unique(proxy, return_inverse=True, return_counts=True)
    share = np.add.reduceat(weight, np.cumsum(count) - count)  # weight of each distinct proxy value
    return float((share / count)[level] @ gold)


def _weights(total: int, n: int) -> Floats:
    """C(i−1, n−1) / C(total, n) for ranks i = 1 … total, by its ratio from the top so that nothing overflows."""
    i = np.arange(total, 1, -1)
    return np.cumprod(np.concatenate([[n / total], np.maximum(i - n, 0) / (i - 1)]))[::-1]


def _check(n: int) -> None:
    if n < 1:
        raise ValueError(f"best-of-n needs n >= 1, got {n}")
