"""What a consensus says of the people behind it: how often right, how often left, and how sure we are of that."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta, binom

from tercih.feedback.quality.votes import TIE, Floats, Ints, Votes

LEFT, RIGHT = 0, 1


@dataclass(frozen=True, kw_only=True, slots=True)
class RaterReport:
    """One rater's row.

    `reliability` is P(right answer | one item is better), averaged over that item being left and right, and 1/2 for
    one who guesses. `lean` is P(says left) − P(says right) at the same average: 0 for one who ignores the order, 1 for
    one who always says left. `_se` are posterior standard errors. `left_rate` is the plain share of "left" among
    answers that chose a side of a recorded order, with its exact 95 % interval, and `left_p` the two-sided p-value of
    "1/2", which needs no model because the order shown is random. `agreement` is the mean belief that *the others* have
    in this rater's answers; NaN for one who was always alone.
    """

    rater: str
    judgements: int
    reliability: float
    reliability_se: float
    lean: float
    lean_se: float
    left_rate: float
    left_low: float
    left_high: float
    left_p: float
    agreement: float


def leaning(reports: Sequence[RaterReport], level: float = 0.05) -> list[RaterReport]:
    """The raters who prefer a side, whatever is on it; `level` bounds the chance of *any* false alarm (Bonferroni)."""
    return [each for each in reports if each.left_p < level / len(reports)]


def report(
    votes: Votes, said_J: Ints, confusion_WTY: Floats, weight_WTY: Floats, others_JZ: Floats
) -> list[RaterReport]:
    """One row per rater, by name, from the confusion matrices, the counts behind them, and beliefs without each vote.

    `said_J` holds LEFT, RIGHT or TIE; `weight_WTY` expected counts with the prior's; `others_JZ` P(class) of each
    judgement's pair given all other judgements.
    """
    rows_WT = weight_WTY[:, :2].sum(axis=2)
    right_WT = confusion_WTY[:, [LEFT, RIGHT], [LEFT, RIGHT]]
    lean_WT = confusion_WTY[:, :2, LEFT] - confusion_WTY[:, :2, RIGHT]
    spread_WT = confusion_WTY[:, :2, LEFT] + confusion_WTY[:, :2, RIGHT] - lean_WT**2
    right_se_W = np.sqrt((right_WT * (1 - right_WT) / rows_WT).sum(axis=1)) / 2
    lean_se_W = np.sqrt((spread_WT / rows_WT).sum(axis=1)) / 2
    agreement_W = _agreement(votes, others_JZ)
    sided_J = votes.shown_J & (said_J != TIE)
    lefts_W = np.bincount(votes.rater_J[sided_J & (said_J == LEFT)], minlength=len(votes.raters))
    sided_W = np.bincount(votes.rater_J[sided_J], minlength=len(votes.raters))
    rate_W, low_W, high_W, p_W = _left_rates(lefts_W, sided_W)
    judgements_W = np.bincount(votes.rater_J, minlength=len(votes.raters))
    return [
        RaterReport(
            rater=name,
            judgements=int(judgements_W[w]),
            reliability=float(right_WT[w].mean()),
            reliability_se=float(right_se_W[w]),
            lean=float(lean_WT[w].mean()),
            lean_se=float(lean_se_W[w]),
            agreement=float(agreement_W[w]),
            left_rate=float(rate_W[w]),
            left_low=float(low_W[w]),
            left_high=float(high_W[w]),
            left_p=float(p_W[w]),
        )
        for w, name in enumerate(votes.raters)
    ]


def _left_rates(lefts_W: Ints, sided_W: Ints) -> tuple[Floats, Floats, Floats, Floats]:
    """Share of "left" (NaN without answers), its Clopper–Pearson 95 % interval, and the exact p-value of 1/2."""
    rights_W = sided_W - lefts_W
    with np.errstate(invalid="ignore"):
        rate_W = lefts_W / sided_W
    low_W = np.where(lefts_W > 0, beta.ppf(0.025, np.maximum(lefts_W, 1), rights_W + 1), 0.0)
    high_W = np.where(rights_W > 0, beta.ppf(0.975, lefts_W + 1, np.maximum(rights_W, 1)), 1.0)
    p_W = np.minimum(1.0, 2 * binom.cdf(np.minimum(lefts_W, rights_W), sided_W, 0.5))
    return rate_W, low_W, high_W, p_W


def _agreement(votes: Votes, others_JZ: Floats) -> Floats:
    """Mean over a rater's judgements, where others judged too, of the others' belief in the answer."""
    company_J = np.bincount(votes.pair_J)[votes.pair_J] > 1
    belief_J = others_JZ[np.arange(len(votes.answer_J)), votes.answer_J]
    summed_W = np.bincount(votes.rater_J, weights=belief_J * company_J, minlength=len(votes.raters))
    count_W = np.bincount(votes.rater_J, weights=company_J, minlength=len(votes.raters))
    return np.asarray(np.where(count_W > 0, summed_W / np.maximum(count_W, 1), np.nan))
