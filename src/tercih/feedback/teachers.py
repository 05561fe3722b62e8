"""Scripted teachers of agents, simulated people all of them: they compare two clips by the environment's own reward
(Lee et al. 2021, B-Pref, arXiv:2111.03026, §3).

Differences are measured in the deviations that the returns of clips have, so that a teacher is the same in every
environment and whatever its rewards are multiplied by.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

Target = tuple[float, float, float]
FIRST, SECOND, TIE, NOTHING = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Teacher:
    """An oracle, unless it has faults; they may be combined.

    `rationality` β: P(first) = σ(β·difference), infinite for one who always sees what is better. `mistake`: the share
    of answers that are turned around. `skip`: neither clip comes above this many deviations over the mean, and nothing
    is said. `equal`: returns closer than this many deviations are a tie. `myopia` γ: the reward of a step t steps
    before the clip's last counts γ^t.
    """

    rationality: float = float("inf")
    mistake: float = 0.0
    skip: float = float("-inf")
    equal: float = 0.0
    myopia: float = 1.0

    def __post_init__(self) -> None:
        if not self.rationality > 0:
            raise ValueError(f"teacher.rationality must be > 0, got {self.rationality}")
        if not 0 <= self.mistake <= 1:
            raise ValueError(f"teacher.mistake must be in [0, 1], got {self.mistake}")
        if not self.equal >= 0:
            raise ValueError(f"teacher.equal must be >= 0, got {self.equal}")
        if not 0 <= self.myopia <= 1:
            raise ValueError(f"teacher.myopia must be in [0, 1], got {self.myopia}")

    def worth(self, reward_BL: NDArray[np.float64]) -> NDArray[np.float64]:
        """What clips are worth to this teacher, (B,)."""
        weight_L = self.myopia ** np.arange(reward_BL.shape[1])[::-1]
        return np.asarray((reward_BL * weight_L).sum(1))

    def answer(self, first: float, second: float, mean: float, spread: float, draws: tuple[float, float]) -> Target:
        """What is said of clips of this `worth`, where clips have such a mean and deviation; P(first, second, tie), all
        0 where nothing is said. `draws` are uniform in [0, 1)."""
        difference = (first - second) / spread
        if (max(first, second) - mean) / spread < self.skip:
            return NOTHING
        if abs(difference) < self.equal or (difference == 0 and self.rationality == float("inf")):
            return TIE
        if self.rationality == float("inf"):
            says_first = difference > 0
        else:
            says_first = draws[0] < 0.5 * (1 + np.tanh(self.rationality * difference / 2))
        return FIRST if says_first != (draws[1] < self.mistake) else SECOND


def fitted(errors: float, ties: float, difference_N: NDArray[np.float64]) -> Teacher:
    """A teacher who errs and ties as often as a rater was measured to, on pairs of clips that differ by `difference_N`
    deviations: the closest pairs are ties, and β makes the errors of the rest. ValueError for rates that nobody has."""
    if not 0 <= errors < 0.5:
        raise ValueError(f"errors must be in [0, 0.5), got {errors}: a rater who errs more often says the opposite")
    if not 0 <= ties < 1:
        raise ValueError(f"ties must be in [0, 1), got {ties}")
    size_N = np.abs(difference_N)
    equal = float(np.quantile(size_N, ties)) if ties else 0.0
    if not errors:
        return Teacher(equal=equal)
    decided_N = size_N[size_N >= equal]
    rationality = brentq(lambda log_beta: expit(-np.exp(log_beta) * decided_N).mean() - errors, -20, 20)
    return Teacher(rationality=float(np.exp(rationality)), equal=equal)
