"""What the page on quality shows, worked out by `tercih worker` or, of a small project, on the spot."""

import time as clock
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from tercih.feedback.database import Database
from tercih.feedback.fits import last_change, plain, read_fit
from tercih.feedback.overview.agents import Standing, standings
from tercih.feedback.overview.answers import Answers, cost, read
from tercih.feedback.overview.biases import biases
from tercih.feedback.overview.figures import Figure
from tercih.feedback.overview.raters import RaterRow, rater_rows
from tercih.feedback.projects import Project
from tercih.feedback.quality import RaterReport, dawid_skene
from tercih.feedback.tables import assignment
from tercih.records import Consensus, content_hash

QUALITY = "quality"  # the kind of the row of `fit`
MOST_AT_ONCE = 2_000  # answers that a page itself may reckon with; of more the worker does


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """`settings` is a fingerprint of the project's settings: figures depend on them."""

    settings: str
    cost: Mapping[str, float]
    raters: Sequence[RaterRow]
    biases: Sequence[Figure]
    agents: Sequence[Standing]

    @property
    def row(self) -> dict[str, Any]:
        """For JSON."""
        found: dict[str, Any] = plain(asdict(self))
        return found

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Report":
        figures = ("reliability", "lean", "golds", "flips")
        return cls(
            settings=row["settings"],
            cost=row["cost"],
            raters=[
                RaterRow(**{**each, "warnings": tuple(each["warnings"]), **{k: Figure.of(each[k]) for k in figures}})
                for each in row["raters"]
            ],
            biases=[Figure.of(each) for each in row["biases"]],
            agents=[Standing.of(each) for each in row["agents"]],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What a page shows: a report (None: nobody has worked it out yet), when it was worked out, and whether something
    has changed since."""

    report: Report | None
    time: float
    old: bool


def work_out(
    answers: Answers, settings: Project, raters: Sequence[RaterReport], consensus: Sequence[Consensus]
) -> Report:
    """From all answers and what a fit (Dawid & Skene 1979) says of the raters and the pairs."""
    try:
        agents = standings(answers.comparisons)
    except ValueError:
        agents = []  # the table of biases says why
    return Report(
        settings=fingerprint(settings),
        cost=cost(answers, settings),
        raters=rater_rows(answers, raters),
        biases=biases(answers, settings, consensus, agents),
        agents=agents,
    )


def look(database: Database, settings: Project) -> Look:
    """The worker's report where it is fresh; of a small project a new one; else the worker's last."""
    kept = read_fit(database, settings.id, QUALITY)
    stored = None if kept is None else Report.of(kept["result"])
    fresh = kept is not None and kept["events"] >= last_change(database, settings.id)
    if kept and stored and fresh and stored.settings == fingerprint(settings):
        return Look(report=stored, time=kept["time"], old=False)
    if count_answers(database, settings.id) <= MOST_AT_ONCE:
        answers = read(database, settings.id)
        fit = dawid_skene(answers.comparisons) if answers.comparisons else None
        raters, consensus = (fit.raters, fit.consensus) if fit else ([], [])
        return Look(report=work_out(answers, settings, raters, consensus), time=clock.time(), old=False)
    return Look(report=stored, time=kept["time"] if kept else 0.0, old=True)


def count_answers(database: Database, name: str) -> int:
    """Answers that stand, counted no further than MOST_AT_ONCE + 1."""
    few = sa.select(assignment.c.id).where(assignment.c.project == name, assignment.c.state == "done")
    with database.transaction() as connection:
        found = connection.scalar(sa.select(sa.func.count()).select_from(few.limit(MOST_AT_ONCE + 1).subquery()))
    return int(found or 0)


def fingerprint(settings: Project) -> str:
    """Of the settings that figures depend on."""
    return content_hash([settings.votes, settings.most_votes, settings.cost_per_hour, dict(settings.population)])
