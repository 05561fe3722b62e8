"""How often a rater errs and how often they see no difference, by what a project knows; and a simulated teacher who
does both as often.

What a rater chose is held against the answer that is known (gold questions), else against what the others believe
(Dawid & Skene 1979), else against what the same rater said of the same pair before. With error rate e, and P(right) p_j
by others (1 or 0 by golds), a choice has the likelihood (1 − e) p_j + e (1 − p_j); two choices of the same pair differ
with probability 2 e (1 − e). The interval holds all e whose log-likelihood is within 1.92 of the best (95 %, Wilks).
Golds are best: where all err on the same close pairs, what others or oneself said before is less wrong than it seems.

Shape suffixes: J choices, E error rates.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri, xlogy

from tercih.feedback.overview.answers import Answers
from tercih.feedback.overview.figures import Figure, share
from tercih.feedback.quality import fit_dawid_skene, pair_labels, repeated, tabulate
from tercih.feedback.quality.votes import TIE, Floats
from tercih.feedback.store import TIES
from tercih.feedback.teachers import Teacher, fitted
from tercih.records import Comparison

ENOUGH = 20  # choices of one source: fewer leave an interval of 0.4 and more
WITHIN = 1.92  # half of the 95 % quantile of χ² with one degree of freedom
RATES_E = np.linspace(0, 1, 2001)
NORMAL_N = ndtri((np.arange(5000) + 0.5) / 5000) * 2**0.5
"""How much two clips at random differ, in the deviations that clips have, where what they earn is normal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One rater: P(wrong | chose a side, and one is better), named after what it is measured by, and P(tie)."""

    rater: str
    errors: Figure
    ties: Figure


def measured(answers: Answers) -> list[Measured]:
    """Everybody who compared pairs, by name. `errors` say what is missing where no source has ENOUGH choices."""
    said = [row for row in answers.rows if row["kind"] == "pair" and row["answer"].get("choice")]
    golds, others, again = _golds(said), _others(answers), _again(answers)
    tied: dict[str, list[bool]] = defaultdict(list)
    for row in said:
        if not row["repeats"]:  # close pairs are tied again: they would count twice
            tied[row["rater"]].append(row["answer"]["choice"] in TIES)
    none = np.zeros(0)
    return [
        Measured(
            rater=name,
            errors=_errors(*(each.get(name, none) for each in (golds, others, again))),
            ties=Figure(name="ties", **share(sum(tied[name]), len(tied[name]), "")),
        )
        for name in sorted(tied)
    ]


def teacher_like(rater: Measured) -> Teacher:
    """A teacher who errs and ties as often, where clips at random are compared and what they earn is normal.

    ValueError for a rater of whom too little is known, or who errs as often as a coin or more.
    """
    if rater.errors.missing:
        raise ValueError(rater.errors.missing)
    return fitted(rater.errors.value, rater.ties.value, NORMAL_N)


def _errors(golds: Floats, others: Floats, again: Floats) -> Figure:
    """By the first source that has enough."""
    for name, right_J in (("golds", golds), ("others", others)):
        if len(right_J) >= ENOUGH:
            with np.errstate(divide="ignore"):
                likely_E = np.log((1 - RATES_E)[:, None] * right_J + RATES_E[:, None] * (1 - right_J)).sum(1)
            return _likeliest(name, RATES_E, likely_E, len(right_J))
    if len(again) >= ENOUGH:
        rate_E, flips = RATES_E[RATES_E <= 0.5], again.sum()
        differ_E = 2 * rate_E * (1 - rate_E)
        likely_E = xlogy(flips, differ_E) + xlogy(len(again) - flips, 1 - differ_E)
        return _likeliest("repeats", rate_E, likely_E, len(again))
    return Figure(
        name="errors",
        missing=f"has chosen a side in {len(golds)} gold questions, in {len(others)} that others have judged too, and"
        f" of {len(again)} pairs twice; an error rate needs {ENOUGH} of one kind",
    )


def _likeliest(name: str, rate_E: Floats, likely_E: Floats, n: int) -> Figure:
    among_E = rate_E[likely_E >= likely_E.max() - WITHIN]
    best = float(rate_E[likely_E.argmax()])
    return Figure(name=name, value=best, low=float(among_E[0]), high=float(among_E[-1]), n=n, percent=True)


def _golds(said: Sequence[Mapping[str, Any]]) -> dict[str, Floats]:
    """By rater: 1 where a choice was the known one, 0 where it was the other."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in said:
        known, choice = row["spec"].get("gold", {}).get("choice"), row["answer"]["choice"]
        if row["state"] == "gold" and {known, choice} <= {"a", "b"}:
            found[row["rater"]].append(float(choice == known))
    return {name: np.array(right) for name, right in found.items()}


def _others(answers: Answers) -> dict[str, Floats]:
    """By rater: P(the side that was chosen is better | a side is), by all other judgements of that pair."""
    if not answers.comparisons:
        return {}
    votes = tabulate(answers.comparisons)
    belief_JZ = fit_dawid_skene(pair_labels(votes)).others_JZ[:, :2]
    chose_J = (votes.answer_J != TIE) & (np.bincount(votes.pair_J)[votes.pair_J] > 1)
    right_J = belief_JZ[chose_J, votes.answer_J[chose_J]] / belief_JZ[chose_J].sum(1)
    return {name: right_J[votes.rater_J[chose_J] == w] for w, name in enumerate(votes.raters)}


def _again(answers: Answers) -> dict[str, Floats]:
    """By rater: 1 where of a pair the other one was chosen than before."""
    return {
        name: np.array([_best(x) != _best(y) for x, y in couples if "tie" not in (x.answer, y.answer)], np.float64)
        for name, couples in repeated(answers.repeated).items()
    }


def _best(said: Comparison) -> str:
    return said.pair["ab".index(said.answer)]
