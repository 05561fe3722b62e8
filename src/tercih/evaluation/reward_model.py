"""How good a reward model is on pairs it has not seen: accuracy, calibration, and the baseline that only counts words.

Throughout, `target` [N] is what people believe of the pair, P(a better than b) in [0, 1]; a target of exactly ½ (an
undecided pair) can be got neither right nor wrong and is left out of accuracies, so that `n` counts decided pairs.
"""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike

from tercih.evaluation.intervals import Estimate, wilson


@dataclass(frozen=True, slots=True)
class Bin:
    """The pairs whose predicted probability fell in [low, high): mean prediction, share that came true, how many."""

    low: float
    high: float
    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """The expected calibration error (Naeini et al. 2015), in probability, and the bins that it comes from."""

    ece: float
    bins: tuple[Bin, ...]

    def as_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return {"ece": self.ece, "bins": [asdict(one) for one in self.bins]}


def accuracy(margin: ArrayLike, target: ArrayLike) -> Estimate:
    """The share of decided pairs whose `margin` [N], reward(a) − reward(b), has the right sign; a zero counts ½."""
    difference, belief = _rows(margin, target)
    decided = belief != 0.5
    if not decided.any():
        raise ValueError("no pair is decided: every target is ½")
    agreement = np.sign(difference[decided]) * np.sign(belief[decided] - 0.5)
    return wilson(float((0.5 * (1 + agreement)).sum()), int(decided.sum()))


def calibration(probability: ArrayLike, outcome: ArrayLike, bins: int = 10) -> Calibration:
    """How far predicted `probability` [N] lies from what came true (`outcome` [N] in [0, 1]); empty bins are left out.

    Bins have equal width. The error is Σ_bins (count/N)·|accuracy − confidence|; chance alone makes it positive.
    """
    predicted, happened = _rows(probability, outcome)
    if not ((predicted >= 0) & (predicted <= 1)).all():
        raise ValueError("probabilities must lie in [0, 1]")
    index = np.minimum((predicted * bins).astype(np.int64), bins - 1)
    kept = []
    for i in np.unique(index).tolist():
        here = index == i
        confidence, share = float(predicted[here].mean()), float(happened[here].mean())
        kept.append(Bin(i / bins, (i + 1) / bins, confidence, share, int(here.sum())))
    return Calibration(sum(b.count * abs(b.accuracy - b.confidence) for b in kept) / predicted.size, tuple(kept))


def length_sign(len_a: ArrayLike, len_b: ArrayLike, target: ArrayLike) -> int:
    """Whether people prefer the longer (+1) or the shorter (−1) answer; to be fitted on training pairs."""
    return 1 if length_baseline(len_a, len_b, target).value >= 0.5 else -1


def length_baseline(len_a: ArrayLike, len_b: ArrayLike, target: ArrayLike, sign: int = 1) -> Estimate:
    """The accuracy of "the longer is better" (`sign` −1: the shorter), which a reward model has to beat.

    Choosing the better of both signs on the pairs that are reported flatters the baseline: take it from `length_sign`
    on the training pairs.
    """
    if sign not in (1, -1):
        raise ValueError(f"sign must be 1 or -1, got {sign}")
    first, second = _rows(len_a, len_b)
    return accuracy(sign * (first - second), target)


def _rows(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1 or not first.size:
        raise ValueError(f"expected two equal rows of numbers, got shapes {first.shape} and {second.shape}")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("numbers must be finite")
    return first, second
