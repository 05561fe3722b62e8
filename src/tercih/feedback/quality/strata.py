"""Who was asked, and who should have been: coverage of strata and weights that restore the population.

One margin: w_g = N_g / n_g, population over sample (post-stratification). Several margins: iterative proportional
fitting, "raking" (Deming & Stephan 1940). n_eff = (Σ w)² / Σ w² (Kish 1965) is how many equally weighted judgements the
weighted ones are worth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import entr

from tercih.feedback.quality.intervals import Interval, resampled_sums
from tercih.feedback.quality.votes import Floats, Ints


@dataclass(frozen=True, kw_only=True, slots=True)
class Coverage:
    """Judgements per stratum, their entropy over log(number of strata wanted) (1: even, 0: all in one), and n_eff."""

    counts: dict[str, int]
    entropy: float
    n_eff: float


def coverage(strata: Sequence[str], weights: npt.ArrayLike | None = None, wanted: Sequence[str] = ()) -> Coverage:
    """`strata` of each judgement; `wanted` names strata that count as uncovered where nobody is in them."""
    if not strata:
        raise ValueError("there are no judgements to look at")
    names, counts = np.unique([*strata, *wanted], return_counts=True)
    n_G = counts - np.isin(names, list(wanted)) * 1
    share_G = n_G[n_G > 0] / n_G.sum()
    weight_J = np.ones(len(strata)) if weights is None else np.asarray(weights, dtype=np.float64)
    return Coverage(
        counts=dict(zip(names.tolist(), n_G.tolist(), strict=True)),
        entropy=float(-(share_G @ np.log(share_G)) / np.log(len(names))) if len(names) > 1 else 1.0,
        n_eff=effective_size(weight_J),
    )


def spread_of(
    strata: Sequence[str], raters: Sequence[str], wanted: Sequence[str] = (), resamples: int = 2000, seed: int = 0
) -> Interval:
    """The entropy of `coverage`, with a bootstrap over raters."""
    names, stratum_J = np.unique([*strata, *wanted], return_inverse=True)
    _, rater_J = np.unique(raters, return_inverse=True)
    n_WG = np.zeros((rater_J.max() + 1, len(names)))
    np.add.at(n_WG, (rater_J, stratum_J[: len(strata)]), 1)
    n_RG = resampled_sums(n_WG, resamples, seed)
    value_R = entr(n_RG / n_RG.sum(axis=1, keepdims=True)).sum(axis=1) / np.log(len(names))
    return _over(value_R, len(n_WG))


@dataclass(frozen=True, kw_only=True, slots=True)
class Raked:
    """What weighting to the population does: how far the mean moves, weighted − raw, and n_eff; over raters."""

    shift: Interval
    n_eff: Interval


def raked(
    values: npt.ArrayLike,
    raters: Sequence[str],
    strata: Sequence[str],
    population: Mapping[str, float],
    resamples: int = 2000,
    seed: int = 0,
) -> Raked:
    """Of J judgements' values, the rater and the stratum of each; intervals are bootstraps over the raters of each
    stratum, for these are what was sampled. Raises `ValueError` as `rake` does, and where a stratum has one rater."""
    rake([(strata, population)])
    value_J, (names, rater_J) = np.asarray(values, dtype=np.float64), np.unique(raters, return_inverse=True)
    code_J, share_G = _coded(strata, population)
    n_W, sum_W = np.bincount(rater_J), np.bincount(rater_J, weights=value_J)
    own_W: Ints = np.zeros(len(names), dtype=np.int64)
    own_W[rater_J] = code_J
    n_RG, sum_RG = (np.zeros((resamples + 1, len(share_G))) for _ in range(2))
    for at, name in enumerate(population):
        inside = np.flatnonzero(own_W == at)
        if len(inside) < 2:
            raise ValueError(f"an interval needs two raters or more of every stratum; {name!r} has {len(inside)}")
        both_C2 = np.column_stack([n_W[inside], sum_W[inside]]).astype(np.float64)
        n_RG[:, at], sum_RG[:, at] = resampled_sums(both_C2, resamples, seed + at).T
    shift_R = (sum_RG / n_RG) @ share_G - sum_RG.sum(axis=1) / n_RG.sum(axis=1)
    return Raked(shift=_over(shift_R, len(names)), n_eff=_over(1 / (share_G**2 / n_RG).sum(axis=1), len(names)))


def _over(value_R: Floats, raters: int) -> Interval:
    low, high = np.quantile(value_R[1:], [0.025, 0.975])
    return Interval(value=float(value_R[0]), low=float(low), high=float(high), clusters=raters)


def effective_size(weight_J: Floats) -> float:
    """(Σ w)² / Σ w² of weights [J]."""
    return float(weight_J.sum() ** 2 / (weight_J**2).sum())


def rake(
    margins: Sequence[tuple[Sequence[str], Mapping[str, float]]], tolerance: float = 1e-10, iterations: int = 1000
) -> Floats:
    """Weights [J] with mean 1 whose weighted shares are the population's, in every margin.

    A margin is the stratum of each judgement and the population of each stratum (counts or shares). Raises `ValueError`
    for a stratum that is empty in the sample or unknown to the population (merge it with another), and when margins
    contradict each other.
    """
    if not margins:
        raise ValueError("raking needs at least one margin")
    if len({len(strata) for strata, _ in margins}) > 1:
        raise ValueError("every margin must name the stratum of every judgement")
    codes = [_coded(strata, population) for strata, population in margins]
    weight_J = np.ones(len(margins[0][0]))
    for _ in range(iterations):
        furthest = 0.0  # of any stratum from its share, before it is corrected
        for code_J, share_G in codes:
            off_G = share_G * len(code_J) / np.bincount(code_J, weights=weight_J, minlength=len(share_G))
            weight_J = weight_J * off_G[code_J]
            furthest = max(furthest, float(np.abs(off_G - 1).max()))
        if furthest < tolerance:
            return weight_J
    raise ValueError("the margins contradict each other: raking does not settle; merge strata that are rare together")


def _coded(strata: Sequence[str], population: Mapping[str, float]) -> tuple[npt.NDArray[np.int64], Floats]:
    unknown, empty = sorted(set(strata) - set(population)), sorted(set(population) - set(strata))
    if unknown or empty:
        raise ValueError(f"strata unknown to the population: {unknown}; without a judgement: {empty}; merge them")
    place = {name: at for at, name in enumerate(population)}
    share_G = np.array(list(population.values()), dtype=np.float64)
    return np.array([place[name] for name in strata]), share_G / share_G.sum()
