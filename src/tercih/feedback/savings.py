"""The labels that asking cleverly saves against asking at random, over independent repetitions of both.

Both arms have a learning curve: the quality of a reward model on questions drawn at random, against the number of
labels it learned from. Each mean curve is made monotone (isotonic regression), and both are read at one quality q, the
lower of the two ends, so that neither is extrapolated:

    saved = labels_random(q) − labels_active(q),    share = saved / labels_random(q)

Swapping the arms changes the sign of `saved`; so where they are alike it is positive as often as negative. Shape
suffixes as in `acquisition`, and K points of a curve, S independent repetitions of it.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.optimize import isotonic_regression

from tercih.feedback.acquisition import Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class Savings:
    """Labels saved with their 95 % interval [low, high] (negative: labels lost), and the share of the random arm's
    labels that they are. `labels` is where the curves end, `repetitions` how many curves the interval rests on."""

    saved: float
    low: float
    high: float
    share: float
    labels: int
    repetitions: int

    def __str__(self) -> str:
        return (
            f"{self.saved:.0f} labels saved [{self.low:.0f}, {self.high:.0f}] ({100 * self.share:.0f} %) of"
            f" {self.labels}, from {self.repetitions} curves"
        )


def labels_saved(
    labels_K: npt.ArrayLike,
    random_SK: npt.ArrayLike,
    active_SK: npt.ArrayLike,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Savings:
    """From `S` paired, independent repetitions of both curves; the interval is a bootstrap over repetitions.

    Quality is better when larger. Percentiles are taken further out for few repetitions (Hesterberg 2015, §5.1).
    Raises ValueError for shapes that do not fit, labels that do not rise, or fewer than two repetitions.
    """
    labels, random, active = (np.asarray(each, dtype=np.float64) for each in (labels_K, random_SK, active_SK))
    if random.ndim != 2 or random.shape != active.shape or random.shape[1:] != labels.shape or len(labels) < 2:
        raise ValueError(f"curves must be [S, K] over labels [K], got {random.shape}, {active.shape}, {labels.shape}")
    if not (np.diff(labels) > 0).all() or not (np.isfinite(random).all() and np.isfinite(active).all()):
        raise ValueError("labels_saved needs labels that rise and curves that are finite")
    if len(random) < 2:
        raise ValueError("an interval needs two repetitions or more")
    rng, n = np.random.default_rng(seed), len(random)
    drawn_RS = rng.integers(n, size=(resamples, n))
    saved_R = [_saved(labels, random[s].mean(axis=0), active[s].mean(axis=0))[0] for s in drawn_RS]
    tail = float(stats.norm.cdf(math.sqrt(n / (n - 1)) * stats.t.ppf(0.025, n - 1)))
    return _savings(labels, random.mean(axis=0), active.mean(axis=0), saved_R, tail, n)


def _savings(
    labels_K: npt.NDArray[np.generic], random_K: Floats, active_K: Floats, saved_R: list[float], tail: float, n: int
) -> Savings:
    saved, needed = _saved(labels_K.astype(np.float64), random_K, active_K)
    low, high = np.quantile(saved_R, [tail, 1 - tail])
    return Savings(
        saved=saved,
        low=float(low),
        high=float(high),
        share=saved / needed,
        labels=int(labels_K[-1]),
        repetitions=n,
    )


def _saved(labels_K: npt.NDArray[np.generic], random_K: Floats, active_K: Floats) -> tuple[float, float]:
    """Labels saved, and those that the random arm needs."""
    random, active = (np.asarray(isotonic_regression(curve).x) for curve in (random_K, active_K))
    quality = min(random[-1], active[-1])
    needed = _reaches(labels_K, random, quality)
    return needed - _reaches(labels_K, active, quality), needed


def _reaches(labels_K: npt.NDArray[np.generic], curve_K: Floats, quality: float) -> float:
    """After how many labels a rising curve first has this quality, interpolated."""
    k = int(np.argmax(curve_K >= quality - 1e-12))
    if k == 0:
        return float(labels_K[0])
    share = (quality - curve_K[k - 1]) / (curve_K[k] - curve_K[k - 1])
    return float(labels_K[k - 1] + min(1.0, share) * (labels_K[k] - labels_K[k - 1]))
