"""What a reward learns from the answers: its curve, as a run tells it or the worker measured it, and who adds to it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tercih.feedback.overview.figures import Figure
from tercih.feedback.overview.without import KIND

TOLD = "told learning"  # the kind of the row of `fit` that a run writes
ENDS = ("value", "low", "high")


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """Held-out accuracy of a reward that has learned from so many answers."""

    answers: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """A rater, or a source: what `change` in held-out accuracy leaving it out makes (above 0: better without), and the
    share of pairs of which another item is then the better one (`turned`)."""

    by: str
    name: str
    judgements: int
    change: Figure
    turned: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Learned:
    """`told`: whether the curve is a run's own, of its reward model. `features`: whether the worker learned from those
    of a reward model, or the items' scores alone. `judgements` is what it learned from, at `time`."""

    curve: Sequence[Point] = ()
    told: bool = False
    raters: Sequence[LeftOut] = ()
    sources: Sequence[LeftOut] = ()
    judgements: int = 0
    features: bool = False
    time: float = 0.0

    @property
    def figures(self) -> list[Figure]:
        """Two rows of the table of biases: the end of the curve, and what the largest source does."""
        nothing = "nothing was learned yet; `tercih worker` does it"
        accuracy, source = Figure(name="learning", missing=nothing), Figure(name="source", missing=nothing)
        if self.curve:
            last = self.curve[-1]
            accuracy = Figure(
                name="learning", value=last.value, low=last.low, high=last.high, n=last.answers, percent=True
            )
        if self.sources:
            source = max(self.sources, key=lambda each: each.judgements).change
        elif self.judgements:
            source = Figure(name="source", missing="all comparisons are of one source")
        return [accuracy, source]


def learned(fits: Mapping[str, Mapping[str, Any]]) -> Learned:
    """From rows of the `fit` table by kind."""
    told = points(fits[TOLD]["result"]) if TOLD in fits else []
    row = fits.get(KIND)
    if row is None:
        return Learned(curve=told, told=True)
    result = row["result"]
    return Learned(
        curve=told or points(result),
        told=bool(told),
        raters=[_left_out(each, "rater") for each in result["raters"]],
        sources=[_left_out(each, each["by"]) for each in result["sources"]],
        judgements=result["judgements"],
        features=result["features"],
        time=row["time"],
    )


def points(result: Mapping[str, Any]) -> list[Point]:
    """Raises ValueError for what is no curve: {"curve": [{"answers", "accuracy": {"value", "low", "high"}}]}."""
    found = []
    try:
        for each in result["curve"]:
            ends = {name: float(each["accuracy"][name]) for name in ENDS}
            found.append(Point(answers=int(each["answers"]), **ends))
    except (KeyError, TypeError, ValueError):
        raise ValueError('"learning" is {"curve": [{"answers": 100, "accuracy": {"value", "low", "high"}}]}') from None
    if not all(each.answers > 0 and math.isfinite(each.value + each.low + each.high) for each in found):
        raise ValueError("a curve needs answers above 0 and finite accuracies")
    return found


def _left_out(row: Mapping[str, Any], by: str) -> LeftOut:
    change = Figure.of(
        {"name": "source", "n": row["judgements"], "percent": True} | {k: row["change"][k] for k in ENDS}
    )
    return LeftOut(by=by, name=row["name"], judgements=row["judgements"], change=change, turned=row["turned"])
