"""All that stands in a project, read in one go: what figures are worked out of."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import sqlalchemy as sa

from tercih.feedback.database import Database
from tercih.feedback.projects import Project
from tercih.feedback.store import comparison_of, items_of
from tercih.feedback.tables import assignment, member, question, rater
from tercih.records import Comparison

LONGEST = 600.0  # seconds at one question that still count as work
COMMON = ("open", "full", "closed", "dissent")  # states of the common queue


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """All answers that stand in a project, newest last, with their questions.

    `comparisons` are those to pairs of the common queue, `ranked` what rankings say of pairs, `repeated` answers to
    pairs that a rater was asked twice. `origins` are the items' by id; `stages` says how far those are who came here.
    """

    rows: Sequence[Mapping[str, Any]]
    raters: Mapping[str, Mapping[str, Any]]
    stages: Mapping[str, str]
    origins: Mapping[str, str]
    comparisons: Sequence[Comparison]
    ranked: Sequence[Comparison]
    repeated: Sequence[Comparison]

    @property
    def told(self) -> list[tuple[Comparison, str]]:
        """All that says which of two items is better, with the kind of question that it was said to, in order."""
        both = [*((each, "pair") for each in self.comparisons), *((each, "ranking") for each in self.ranked)]
        return sorted(both, key=lambda each: each[0].time or 0.0)

    @property
    def common(self) -> list[Mapping[str, Any]]:
        """Raters' answers to the common queue: no golds, no repeats, not what a lead decided."""
        return [row for row in self.rows if row["state"] in COMMON and not row["shown"].get("adjudication")]


def read(database: Database, project: str) -> Answers:
    query = (
        sa.select(
            *(assignment.c[name] for name in ("rater", "answer", "shown", "time", "seconds", "version")),
            *(
                question.c[name]
                for name in ("id", "kind", "state", "spec", "items", "sampler", "propensity", "repeats")
            ),
        )
        .join(question, question.c.id == assignment.c.question)
        .where(assignment.c.project == project, assignment.c.state == "done")
        .order_by(assignment.c.time, assignment.c.id)
    )
    been = sa.select(member.c.rater, member.c.stage).where(member.c.project == project)
    with database.transaction() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
        raters = {row["id"]: dict(row) for row in connection.execute(sa.select(rater)).mappings()}
        stages = {row.rater: row.stage for row in connection.execute(been)}
        pairs = [row for row in rows if row["kind"] == "pair" and row["answer"].get("choice")]
        rankings = [
            row for row in rows if row["kind"] == "ranking" and row["state"] in COMMON and "order" in row["answer"]
        ]
        items = items_of(connection, [*pairs, *rankings])
    said = [(row, comparison_of(row, items)) for row in pairs]
    usual = [each for row, each in said if row["state"] in COMMON]
    twice = {(row["rater"], row["repeats"]) for row in pairs if row["repeats"]}
    repeated = [each for row, each in said if (row["rater"], row["repeats"] or row["id"]) in twice]
    return Answers(
        rows=rows,
        raters=raters,
        stages=stages,
        origins={key: each.origin for key, each in items.items()},
        comparisons=usual,
        ranked=[each for row in rankings for each in _ranked(row, items)],
        repeated=repeated,
    )


def _ranked(row: Mapping[str, Any], items: Mapping[str, Any]) -> list[Comparison]:
    """Each item is better than those placed after it."""
    order = [items[row["items"][place]] for place in row["answer"]["order"]]
    rest = {name: row[name] for name in ("rater", "time", "sampler", "propensity")}
    return [Comparison(a=better, b=worse, answer="a", **rest) for better, worse in combinations(order, 2)]


def progress(database: Database, project: str) -> dict[str, int]:
    """Questions by state, answers wanted and given (the common queue alone)."""
    here, common = question.c.project == project, question.c.state.in_(COMMON)
    counted = sa.select(question.c.state, sa.func.count()).where(here).group_by(question.c.state)
    summed = sa.select(sa.func.sum(question.c.votes), sa.func.sum(question.c.done)).where(here, common)
    with database.transaction() as connection:
        states = {state: int(count) for state, count in connection.execute(counted)}
        wanted, given = connection.execute(summed).one()
    return states | {"wanted": int(wanted or 0), "given": int(given or 0)}


def cost(answers: Answers, settings: Project) -> dict[str, float]:
    """Hours people worked, and what these cost; long silences are no work."""
    seconds = [min(row["seconds"], LONGEST) for row in answers.rows if row["seconds"]]
    hours = sum(seconds) / 3600
    median = float(np.median(seconds)) if seconds else math.nan
    return {"hours": hours, "cost": hours * settings.cost_per_hour, "median_seconds": median, "timed": len(seconds)}
