"""Everybody who answers, as the lead sees them: work, reliability, lean, known answers, repeats, and warnings."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from tercih.feedback.overlap import is_right
from tercih.feedback.overview.answers import LONGEST, Answers
from tercih.feedback.overview.figures import Figure, normal
from tercih.feedback.quality import RaterReport, cusum, gold_accuracy, leaning, repeats


@dataclass(frozen=True, kw_only=True, slots=True)
class RaterRow:
    """One rater, as the lead sees them: work, reliability, lean to the left, golds, repeats."""

    rater: str
    state: str
    stratum: str
    answers: int
    minutes: float
    reliability: Figure
    lean: Figure
    golds: Figure
    flips: Figure
    warnings: tuple[str, ...]


def rater_rows(answers: Answers, reports: Sequence[RaterReport]) -> list[RaterRow]:
    """Everybody who has answered, least reliable first; `reports` are what a fit says of them."""
    by_name = {row.rater: row for row in reports}
    suspects = {row.rater for row in leaning(reports)}
    flips = {row.rater: row for row in repeats(answers.repeated)}
    marks: dict[str, list[bool]] = defaultdict(list)
    work: Counter[str] = Counter()
    seconds: dict[str, float] = defaultdict(float)
    for row in answers.rows:
        work[row["rater"]] += 1
        seconds[row["rater"]] += min(row["seconds"] or 0.0, LONGEST)
        if row["state"] == "gold":
            marks[row["rater"]].append(is_right(row["answer"], row["spec"]))
    found = []
    for name in work:
        golds, warnings = _golds(marks[name])
        report, flip = by_name.get(name), flips.get(name)
        reliability = lean = Figure(name="", missing="no pairs judged")
        if report:
            reliability = normal("reliability", report.reliability, report.reliability_se, report.judgements)
            lean = normal("lean", report.lean, report.lean_se, report.judgements)
        again = Figure(name="flips", missing="no repeats")
        if flip:
            again = Figure(
                name="flips", value=flip.flip_rate, low=flip.flip_low, high=flip.flip_high, n=flip.repeats, percent=True
            )
        who = answers.raters[name]
        found.append(
            RaterRow(
                rater=name,
                state=who["state"],
                stratum=who["stratum"] or "",
                answers=work[name],
                minutes=seconds[name] / 60,
                reliability=reliability,
                lean=lean,
                golds=golds,
                flips=again,
                warnings=(*warnings, *(("lean",) if name in suspects else ())),
            )
        )
    return sorted(found, key=lambda row: (math.inf if row.reliability.missing else row.reliability.value, row.rater))


def _golds(marks: Sequence[bool]) -> tuple[Figure, list[str]]:
    if not marks:
        return Figure(name="golds", missing="no gold questions answered"), []
    fit = gold_accuracy(sum(marks), len(marks) - sum(marks))
    figure = Figure(name="golds", value=fit.mean, low=fit.low, high=fit.high, n=len(marks), percent=True)
    warnings = ["golds"] if fit.pause else []
    return figure, [*warnings, "drift"] if cusum(marks).fired is not None else warnings
