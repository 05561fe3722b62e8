"""Does a rater say the same again? Flip rates from questions that were asked twice (test–retest; McNemar 1947).

A repeat with the sides swapped separates wavering from clicking a side: who flips between "left, left" and "right,
right" alike wavers; who flips only one way follows the position. McNemar's exact test compares the two counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from scipy.stats import beta, binomtest

from tercih.records import Comparison


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeats:
    """One rater's questions asked twice.

    `flip_rate` is the share of repeats in which the item preferred changed, ties included (a tie that becomes a choice
    is a flip), with its exact 95 % interval. Of swapped repeats, `left_left` and `right_right` chose the same side both
    times; `position_p` is the two-sided p-value that both are equally probable.
    """

    rater: str
    repeats: int
    flip_rate: float
    flip_low: float
    flip_high: float
    swapped: int
    left_left: int
    right_right: int
    position_p: float


def repeats(comparisons: Sequence[Comparison]) -> list[Repeats]:
    """One row for every rater who judged a pair more than once, by name; each judgement is compared with the next."""
    couples = repeated(comparisons)
    return [_row(rater, couples[rater]) for rater in sorted(couples)]


def repeated(comparisons: Sequence[Comparison]) -> dict[str, list[tuple[Comparison, Comparison]]]:
    """Of every rater, each judgement of a pair with their next one of it."""
    asked: dict[tuple[str, frozenset[str]], list[Comparison]] = {}
    for said in comparisons:
        asked.setdefault((said.rater, frozenset(said.pair)), []).append(said)
    couples: dict[str, list[tuple[Comparison, Comparison]]] = {}
    for (rater, _), told in asked.items():
        if len(told) > 1:
            couples.setdefault(rater, []).extend(pairwise(told))
    return couples


def _row(rater: str, couples: list[tuple[Comparison, Comparison]]) -> Repeats:
    flips = sum(_best(x) != _best(y) for x, y in couples)
    swapped = [(x, y) for x, y in couples if x.left and y.left and _left(x) != _left(y)]
    same_side = [x.answer == x.left for x, y in swapped if "tie" not in (x.answer, y.answer) and _best(x) != _best(y)]
    lefts = sum(same_side)
    n = len(couples)
    return Repeats(
        rater=rater,
        repeats=n,
        flip_rate=flips / n,
        flip_low=float(beta.ppf(0.025, flips, n - flips + 1)) if flips else 0.0,
        flip_high=float(beta.ppf(0.975, flips + 1, n - flips)) if flips < n else 1.0,
        swapped=len(swapped),
        left_left=lefts,
        right_right=len(same_side) - lefts,
        position_p=float(binomtest(lefts, len(same_side)).pvalue) if same_side else 1.0,
    )


def _best(said: Comparison) -> str:
    return {"a": said.a.id, "b": said.b.id, "tie": ""}[said.answer]


def _left(said: Comparison) -> str:
    return said.a.id if said.left == "a" else said.b.id
