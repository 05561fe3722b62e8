"""Which item is better, and who can tell? (Dawid & Skene 1979, "Maximum likelihood estimation of observer error-rates")

Every rater has a confusion matrix: P(answers left, right, tie | truly better is the left, the right, neither). Because
the order shown is random per judgement, the truth in *shown* coordinates is left or right with equal probability, so
one matrix separates being wrong from leaning to the left. Matrices have a weak Dirichlet prior that expects raters to
be somewhat right; the probability of "neither" is learned. Expectation–maximisation climbs the log-posterior to a
maximum, starting from the shares of votes.

"Neither is better" is a class of its own only if somebody ever answered "tie". Its probability is what remains of
`p_a` + `p_b`: so a rater who says "tie" to be spared a decision, and one who says it of equal items, count differently.

Shape suffixes as in `votes.py`, and Z classes a, b, neither; T truths left, right, neither; Y answers left, right, tie
(without "neither" and "tie" where nobody said "tie").
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tercih.feedback.quality.raters import RaterReport, report
from tercih.feedback.quality.votes import TIE, Floats, Ints, Votes, tabulate
from tercih.records import Comparison, Consensus

RIGHT_SHARE = 0.6  # what the prior expects a rater to get right; the rest is spread evenly
# ... and of pairs of which neither is better, with twice the weight: or else "neither" becomes the class of all pairs
# that are merely disputed, even among raters who hardly ever say "tie"
TIE_SHARE = 0.8


@dataclass(frozen=True, kw_only=True, slots=True)
class DawidSkene:
    """Beliefs about every pair, a report on every rater, and the log-posterior after each iteration."""

    consensus: list[Consensus]
    raters: list[RaterReport]
    log_posterior: list[float]


def dawid_skene(
    comparisons: Sequence[Comparison], smoothing: float = 4.0, tolerance: float = 1e-7, iterations: int = 500
) -> DawidSkene:
    """Weigh the raters and pool their voices.

    `smoothing` is how many imagined judgements the prior of each row of a confusion matrix weighs. Stops when the
    log-posterior per judgement grows by less than `tolerance`. Deterministic. Raises `ValueError` without comparisons.
    """
    if smoothing <= 0:
        raise ValueError(f"dawid_skene.smoothing must be > 0, got {smoothing}")
    votes = tabulate(comparisons)
    shown_JZ, said_J = _as_shown(votes)
    classes = shown_JZ.shape[1]
    prior_TY = _prior(classes, smoothing)
    belief_NZ = _shares(votes, classes)
    climbed: list[float] = []
    for _ in range(iterations):
        expected_WTY = _expected_counts(votes, shown_JZ, said_J, belief_NZ)
        confusion_WTY = _normalised(expected_WTY + prior_TY)
        class_Z = _class_prior(belief_NZ)
        likelihood_JZ = np.log(confusion_WTY[votes.rater_J[:, None], shown_JZ, said_J[:, None]])
        joint_NZ = np.log(class_Z) + _sum_by(votes.pair_J, likelihood_JZ, len(votes.pairs))
        evidence_N = np.logaddexp.reduce(joint_NZ, axis=1)
        belief_NZ = np.exp(joint_NZ - evidence_N[:, None])
        prior = (prior_TY * np.log(confusion_WTY)).sum() + np.log(class_Z).sum()
        climbed.append(float(evidence_N.sum() + prior))
        if len(climbed) > 1 and climbed[-1] - climbed[-2] < tolerance * len(said_J):
            break
    others_JZ = joint_NZ[votes.pair_J] - likelihood_JZ  # what is believed without this judgement
    others_JZ = np.exp(others_JZ - np.logaddexp.reduce(others_JZ, axis=1, keepdims=True))
    return DawidSkene(
        consensus=votes.consensus(belief_NZ[:, 0], belief_NZ[:, 1]),
        raters=report(votes, said_J, confusion_WTY, expected_WTY + prior_TY, others_JZ),
        log_posterior=climbed,
    )


def _as_shown(votes: Votes) -> tuple[Ints, Ints]:
    """For each class the truth in shown coordinates, and the answer in them."""
    b_left_J = votes.left_J  # 0: a was on the left; 1: b was
    said_J = np.where(votes.answer_J == TIE, TIE, votes.answer_J ^ b_left_J)
    truths = [b_left_J, 1 - b_left_J]
    if (votes.answer_J == TIE).any():
        truths.append(np.full_like(b_left_J, TIE))
    return np.stack(truths, axis=1), said_J


def _prior(classes: int, smoothing: float) -> Floats:
    """Imagined counts, [T, Y]; without ties they are spread over left and right alone."""
    weight_T, right_T = np.full((2, classes), [[smoothing], [RIGHT_SHARE]])
    if classes > 2:
        weight_T[TIE], right_T[TIE] = 2 * smoothing, TIE_SHARE
    prior_TY = np.repeat((weight_T * (1 - right_T) / (classes - 1))[:, None], classes, axis=1)
    np.fill_diagonal(prior_TY, weight_T * right_T)
    return prior_TY


def _shares(votes: Votes, classes: int) -> Floats:
    counts_NZ = votes.counts_N3[:, :classes] + 1 / classes
    return np.asarray(counts_NZ / counts_NZ.sum(axis=1, keepdims=True))


def _class_prior(belief_NZ: Floats) -> Floats:
    """P(class): a and b alike, for which is called a is arbitrary; one imagined pair of each keeps it off zero."""
    mass_Z = belief_NZ.sum(axis=0) + 1
    mass_Z[:2] = mass_Z[:2].mean()
    return np.asarray(mass_Z / mass_Z.sum())


def _expected_counts(votes: Votes, shown_JZ: Ints, said_J: Ints, belief_NZ: Floats) -> Floats:
    """How often each rater is believed to have given answer Y when the truth was T."""
    raters, classes = len(votes.raters), belief_NZ.shape[1]
    cell_JZ = (votes.rater_J[:, None] * classes + shown_JZ) * classes + said_J[:, None]
    counts = np.bincount(cell_JZ.ravel(), weights=belief_NZ[votes.pair_J].ravel(), minlength=raters * classes**2)
    return np.asarray(counts.reshape(raters, classes, classes), dtype=np.float64)


def _sum_by(group_J: Ints, values_JZ: Floats, groups: int) -> Floats:
    columns = [np.bincount(group_J, weights=column, minlength=groups) for column in values_JZ.T]
    return np.stack(columns, axis=1)


def _normalised(counts_WTY: Floats) -> Floats:
    return np.asarray(counts_WTY / counts_WTY.sum(axis=-1, keepdims=True))
