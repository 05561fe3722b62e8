"""Does the active arm of a project save labels? One paired test, on evidence that accumulates over checkpoints.

Both arms' questions teach a linear reward on the features φ, and both are judged by the log-likelihood of the same
answers: to questions that were asked at random and that neither has learned from (cross-validation). The gain is the
mean difference in nats, over answers and over POINTS sizes of the two training sets: the area between two learning
curves. Its standard error is the jackknife's over BLOCKS of questions of both arms, so that it holds what is learned
from as well as what is foretold. The random arm's curve rises by `slope` nats for log(labels); so a gain is worth

    share of labels saved = 1 − exp(−gain / slope)

An arm is on trial until both have FINAL labels; until then it is dropped where its gain is not positive at FIRST, twice
FIRST, … labels. From FINAL on it is kept only where the gain is surely positive, looked at again at every doubling.
That is one test, whose level is that of its interval; what comes before and after it can only drop the arm.

Shape suffixes as in `acquisition`.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.special import log_expit

from tercih.feedback.acquisition import Bools, Floats, Ints
from tercih.feedback.linear import best_ridge, compress, fit_linear

FIRST = 100  # labels of each arm at the first look
FINAL = 400  # ... when an arm must have earned its place
LAST = 1600  # ... after which it keeps it
POINTS = 5  # of a learning curve
FOLDS = 5  # of the random arm: each is judged on by what was learned from the others
BLOCKS = 20
ORDERS = 2  # in which questions are learned from
POWER = 0.8
MOST_LOST = math.log(10)  # ten times the labels: more than that no curve tells


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What the active arm gains, in nats an answer, with its 95 % interval, at the latest look: after `labels` of each
    arm. `share`, `share_low` and `share_high` are the same in labels saved, of those that the random arm needs
    (negative: lost), and `sees` the smallest share that would be found four times in five; NaN where more labels asked
    at random teach nothing."""

    gain: float
    low: float
    high: float
    share: float
    share_low: float
    share_high: float
    sees: float
    labels: int

    @property
    def final(self) -> bool:
        return self.labels >= FINAL

    @property
    def pays(self) -> bool:
        """Whether the arm stays on."""
        return self.low > 0 if self.final else self.gain > 0


def trial(phi_ND: Floats, target_N: Floats, active_N: Bools, *, seed: int = 0) -> Trial | None:
    """From one project's answered questions, in the order of their answers; None before the first look.

    `target_N` is the share of voices for the first item, `active_N` which arm asked. Raises ValueError for unequal
    lengths.
    """
    if not len(phi_ND) == len(target_N) == len(active_N):
        raise ValueError(f"trial needs equal lengths, got {len(phi_ND)}, {len(target_N)}, {len(active_N)}")
    taught_N = np.minimum(active_N.cumsum(), (~active_N).cumsum() * (FOLDS - 1) // FOLDS)
    most = int(taught_N.max(initial=0))
    if most < FIRST:
        return None
    labels = min(LAST, FIRST * 2 ** int(math.log2(most / FIRST)))
    until = int(np.argmax(taught_N >= labels)) + 1  # what was answered after this look is for the next one
    contest = Contest(compress(phi_ND[:until]), target_N[:until], active_N[:until], labels, seed)
    gain, slope = contest.gain(np.ones(until, dtype=bool))
    without_B = np.array([contest.gain(contest.block_N != block)[0] for block in range(BLOCKS)])
    error = math.sqrt((BLOCKS - 1) * without_B.var())
    reach, rare = stats.t.ppf([0.975, POWER], BLOCKS - 1).tolist()

    def share(nats: float) -> float:
        return 1 - math.exp(-max(nats / slope, -MOST_LOST)) if slope > 0 else math.nan

    low, high = gain - reach * error, gain + reach * error
    return Trial(
        gain=gain,
        low=low,
        high=high,
        share=share(gain),
        share_low=share(low),
        share_high=share(high),
        sees=share((reach + rare) * error),
        labels=labels,
    )


class Contest:
    """Who learns from what and is judged on what; drawn once, so that leaving out a block changes nothing else."""

    def __init__(self, phi_ND: Floats, target_N: Floats, active_N: Bools, labels: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.phi_ND, self.target_N = phi_ND, target_N
        self.ridge = best_ridge(phi_ND, target_N)  # one for both arms
        self.block_N = rng.permutation(len(phi_ND)) % BLOCKS
        self.labels_K = np.unique(np.linspace(labels / POINTS, labels, POINTS).round().astype(np.int64))
        chance, clever = np.flatnonzero(~active_N), np.flatnonzero(active_N)
        self.orders = [
            (rng.permutation(chance), rng.permutation(len(chance)) % FOLDS, rng.permutation(clever))
            for _ in range(ORDERS)
        ]

    def gain(self, keep_N: Bools) -> tuple[float, float]:
        """The area between the curves, and the slope of the random arm's, from these questions alone."""
        gains, curve = [], []
        for chance, fold_C, clever in self.orders:
            for labels in self.labels_K:
                active_D = self._learn(clever[:labels], keep_N)
                for fold in range(FOLDS):
                    unseen = chance[(fold_C == fold) & keep_N[chance]]
                    random_D = self._learn(chance[fold_C != fold][:labels], keep_N)
                    random = self._foretells(random_D, unseen)
                    gains.append(self._foretells(active_D, unseen) - random)
                    curve.append((math.log(labels), random))
        at_R, quality_R = np.array(curve).T
        return float(np.mean(gains)), float(np.polyfit(at_R, quality_R, 1)[0])

    def _learn(self, places: Ints, keep_N: Bools) -> Floats:
        kept = places[keep_N[places]]
        return fit_linear(self.phi_ND[kept], self.target_N[kept], self.ridge)

    def _foretells(self, w_D: Floats, unseen: Ints) -> float:
        gap_N, target_N = self.phi_ND[unseen] @ w_D, self.target_N[unseen]
        return float((target_N * log_expit(gap_N) + (1 - target_N) * log_expit(-gap_N)).mean())
