"""A number that decides comes with an interval and the number of samples it rests on. numpy and scipy only."""

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval [low, high] from `n` samples, in the unit of the value."""

    value: float
    low: float
    high: float
    n: int

    def as_dict(self) -> dict[str, float | int]:
        """Ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}] (n = {self.n})"


def wilson(successes: float, n: int, level: float = 0.95) -> Estimate:
    """The Wilson (1927) score interval of a proportion: `successes` out of `n`.

    A tie may be counted as half a success: scores in {0, ½, 1} vary less than p(1 − p), so that the interval is then
    somewhat too wide and never too narrow.
    """
    if n < 1:
        raise ValueError(f"a proportion needs at least one sample, got n = {n}")
    if not 0 <= successes <= n:
        raise ValueError(f"successes must lie in [0, {n}], got {successes}")
    _check_level(level)
    share, z = successes / n, float(stats.norm.ppf((1 + level) / 2))
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Estimate(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)), n)


def bootstrap_mean(values: ArrayLike, seed: int, level: float = 0.95, resamples: int = 2000) -> Estimate:
    """The mean of `values` [N] with an expanded percentile bootstrap interval (Hesterberg 2015, §5.1).

    The plain percentile interval is too short for small N (it uses the divisor N, and the normal instead of the t
    quantile); the percentiles are therefore taken further out, at Φ(∓√(N/(N−1))·t), which mends both.
    """
    sample = np.asarray(values, dtype=np.float64).ravel()
    n = sample.size
    if n < 2:
        raise ValueError(f"an interval of a mean needs at least two values, got {n}")
    if not np.isfinite(sample).all():
        raise ValueError(f"{int((~np.isfinite(sample)).sum())} of {n} values are not finite")
    _check_level(level)
    generator = np.random.default_rng(seed)
    means = [sample[generator.integers(n, size=n)].mean() for _ in range(resamples)]
    tail = float(stats.norm.cdf(math.sqrt(n / (n - 1)) * stats.t.ppf((1 - level) / 2, n - 1)))
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(float(sample.mean()), float(low), float(high), n)


def paired_difference(a: ArrayLike, b: ArrayLike, seed: int, level: float = 0.95) -> Estimate:
    """The mean of a − b over pairs [N], `a[i]` and `b[i]` having answered the same question."""
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"pairs must have equal shapes, got {first.shape} and {second.shape}")
    return bootstrap_mean(first - second, seed, level)


def correlation(a: ArrayLike, b: ArrayLike, groups: ArrayLike, seed: int, resamples: int = 1000) -> Estimate | None:
    """Pearson's r of `a` and `b` [N] with a 95 % bootstrap interval that draws whole `groups` [N] (those of one group
    are not independent); None where one of them does not vary, or there are fewer than three groups."""
    first, second, of = np.asarray(a, np.float64), np.asarray(b, np.float64), np.asarray(groups)
    if not first.shape == second.shape == of.shape:
        raise ValueError(f"a, b and groups must have equal shapes, got {first.shape}, {second.shape}, {of.shape}")
    members = [np.flatnonzero(of == group) for group in np.unique(of)]
    if len(members) < 3 or not (np.ptp(first) > 0 and np.ptp(second) > 0):
        return None
    generator, found = np.random.default_rng(seed), []
    for _ in range(resamples):
        rows = np.concatenate([members[i] for i in generator.integers(len(members), size=len(members))])
        if np.ptp(first[rows]) > 0 and np.ptp(second[rows]) > 0:
            found.append(np.corrcoef(first[rows], second[rows])[0, 1])
    low, high = np.quantile(found, [0.025, 0.975])
    return Estimate(float(np.corrcoef(first, second)[0, 1]), float(low), float(high), len(first))


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
