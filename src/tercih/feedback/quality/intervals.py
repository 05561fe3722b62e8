"""Intervals that respect clusters: a rater's judgements, or an item's, stand or fall together."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tercih.feedback.quality.votes import Floats

CELLS = 10_000_000  # of resampled counts at a time


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A value with its 95 % interval, and the number of clusters (raters, items) it was bootstrapped over."""

    value: float
    low: float
    high: float
    clusters: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] (n = {self.clusters})"


def resampled_counts(clusters: int, resamples: int, seed: int) -> Floats:
    """How often each cluster is drawn in each resample, [resamples, clusters]."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples).astype(np.float64)


def resampled_sums(table_CV: Floats, resamples: int, seed: int) -> Floats:
    """The sums of columns, [1 + resamples, V]: as they are, then of resampled rows; a part at a time, for rows may be
    many."""
    generator, clusters = np.random.default_rng(seed), len(table_CV)
    sums, part = [table_CV.sum(axis=0, keepdims=True)], max(1, CELLS // clusters)
    for done in range(0, resamples, part):
        size = min(part, resamples - done)
        times_RC = generator.multinomial(clusters, np.full(clusters, 1 / clusters), size=size)
        sums.append(times_RC.astype(np.float64) @ table_CV)
    return np.vstack(sums)


def clustered_mean(
    values: npt.ArrayLike,
    clusters: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    minus: npt.ArrayLike | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Σ w v / Σ w of J values with a percentile bootstrap over whole clusters (Field & Welsh 2007, §3.1).

    `clusters` [J] names the rater or the item of each value, `weights` [J] default to 1. With `minus` [J], booleans,
    the value is the mean where it is False less the mean where it is True. Raises `ValueError` for fewer than two
    clusters, or where a side of the difference is empty.
    """
    value_J = np.asarray(values, dtype=np.float64)
    weight_J = np.ones_like(value_J) if weights is None else np.asarray(weights, dtype=np.float64)
    side_J = np.zeros(len(value_J), dtype=bool) if minus is None else np.asarray(minus, dtype=bool)
    if not len(value_J) == len(weight_J) == len(side_J) == len(np.asarray(clusters)):
        raise ValueError("values, clusters, weights and sides must be equally many")
    names, cluster_J = np.unique(np.asarray(clusters), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"an interval needs at least two clusters, got {len(names)}")
    columns: list[npt.NDArray[Any]] = []
    for sign, on_J in ((1, ~side_J), (-1, side_J)):
        if minus is None and sign < 0:
            continue
        if not weight_J[on_J].sum() > 0:
            raise ValueError("both sides of a difference need values")
        above_C = np.bincount(cluster_J[on_J], weights=sign * (weight_J * value_J)[on_J], minlength=len(names))
        columns += [above_C, np.bincount(cluster_J[on_J], weights=weight_J[on_J], minlength=len(names))]
    sums_RV = resampled_sums(np.stack(columns, axis=1), resamples, seed)
    with np.errstate(invalid="ignore"):  # a resample may leave out a whole side
        mean_R = (sums_RV[:, ::2] / sums_RV[:, 1::2]).sum(axis=1)
    low, high = np.nanquantile(mean_R[1:], [0.025, 0.975])
    return Interval(value=float(mean_R[0]), low=float(low), high=float(high), clusters=len(names))
