"""What paired repetitions say: a median, and how far it may be off."""

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of paired ratios, with a 95 % interval by the bootstrap over pairs."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


def paired_ratio(above: Sequence[float], below: Sequence[float], *, resamples: int = 4000, seed: int = 0) -> Ratio:
    """`above[i] / below[i]`, pair by pair: what disturbs both sides of a pair alike cancels."""
    if not above:
        raise ValueError("there are no repetitions to compare")
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    dice = random.Random(seed)
    medians = sorted(statistics.median(dice.choices(ratios, k=len(ratios))) for _ in range(resamples))
    return Ratio(statistics.median(ratios), medians[int(0.025 * resamples)], medians[int(0.975 * resamples)])
