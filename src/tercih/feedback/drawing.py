"""Which question a rater gets next, and how it is shown to them: one draw, within one transaction."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tercih.feedback.overlap import is_right
from tercih.feedback.projects import Project
from tercih.feedback.seats import NotYours, Seat, seat_of
from tercih.feedback.statements import (
    BEFORE_HERE,
    BEFORE_HERE_ASIDE,
    EARLIER,
    FROM_HERE,
    FROM_HERE_ASIDE,
    HAD,
    NEXT_TURN,
    SIT,
    TAKE,
    TAKE_ASIDE,
    WHO,
)
from tercih.feedback.tables import assignment, member, question, quota
from tercih.records import content_hash

REPEAT_AFTER = (5, 40)  # a repeat comes so many answers later, so that the first is not remembered


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """A new seat for one rater in one project."""

    connection: sa.Connection
    settings: Project
    rater: str
    dice: random.Random
    now: float

    def seat(self) -> Seat | None:
        """None where there is no question for them. Raises NotYours for who may not answer here."""
        who = WHO.first(self.connection, {"project": self.settings.id, "rater": self.rater})
        if who is None or who["state"] != "active":
            paused = f"{self.rater} is paused; the lead can say why"
            raise NotYours(paused if who else f"there is no rater {self.rater!r}")
        if who["stage"] in ("tutorial", "exam"):
            return self._training(who["stage"])
        if who["stage"] == "failed":
            raise NotYours("the exam was not passed; the lead can open it again")
        seat = self._now_and_then() or self._common()
        if seat and self.settings.quotas and who["stratum"] in self.settings.quotas:
            here = (quota.c.project == self.settings.id) & (quota.c.stratum == who["stratum"])
            self.connection.execute(sa.update(quota).where(here).values(taken=quota.c.taken + 1))
        return seat

    def sit(self, row: Mapping[str, Any], order: list[int] | None = None) -> Seat:
        """Sit down at this question: what is shown, and in which order, is decided and written down here."""
        if order is None:
            order = list(range(len(row["items"])))
            self.dice.shuffle(order)
        shown: dict[str, Any] = {"order": order}
        if self.settings.suggestions and "suggestion" in row["spec"] and row.get("state") == "open":
            shown["suggestion"] = self.dice.random() < self.settings.suggestions
        if self.settings.notes_first:
            shown["notes_first"] = True
        seat = {
            "question": row["id"], "rater": self.rater, "project": self.settings.id, "state": "leased",
            "claimed": self.now, "expires": self.now + 60 * self.settings.lease_minutes, "shown": shown, "version": 0,
        }  # fmt: skip
        known = {"answer": None, "kind": row["kind"], "items": row["items"], "spec": row["spec"]}
        return seat_of(self.connection, {"id": SIT.scalar(self.connection, seat), **seat, **known})

    # The common queue

    def _common(self) -> Seat | None:
        """The first turn with a question for this rater; within a turn from a random place on, so that neither raters
        nor servers queue for the same one."""
        after: int | None = -(2**31)
        project = self.settings.id
        while after is not None:
            chosen = {"project": project, "after": after, "start": self.dice.getrandbits(31), "rater": self.rater}
            for query in (FROM_HERE, BEFORE_HERE):
                if row := query.first(self.connection, chosen):
                    TAKE.run(self.connection, {"key": row["id"], "by": -1 if self.settings.deep_first else 1})
                    return self.sit(row)
            after = NEXT_TURN.scalar(self.connection, {"project": project, "after": after})
        return None

    # Questions that watch over the answers

    def _now_and_then(self) -> Seat | None:
        """A repeat or a gold question, in their share."""
        draw = self.dice.random()
        if draw < self.settings.repeats and self._due("repeat", self.settings.repeats):
            return self._repeat()
        if draw > 1 - self.settings.golds and self._due("gold", self.settings.golds):
            return self._aside("gold")
        return None

    def _due(self, state: str, share: float) -> bool:
        """Whether this rater has had fewer of these than their share: one who waits for work is not given repeats."""
        had = HAD.first(self.connection, {"rater": self.rater, "project": self.settings.id, "aside": state})
        return had is not None and (had["aside"] or 0) < share * had["all"] + 1

    def _repeat(self) -> Seat | None:
        """A pair this rater judged a while ago, the other way round."""
        back = self.dice.randint(*REPEAT_AFTER)
        row = EARLIER.first(self.connection, {"rater": self.rater, "project": self.settings.id, "back": back})
        if row is None or row["kind"] != "pair":
            return None
        key = content_hash(["repeat", row["question"], self.rater])
        if self.connection.scalar(sa.select(question.c.id).where(question.c.id == key)):
            return None
        copied = {c: row[c] for c in ("project", "run", "step", "kind", "items", "spec", "sampler", "propensity")}
        own = {
            "id": key, "run": f"{row['run']} repeat {self.rater}", "index": int(key[:7], 16),
            "repeats": row["question"], "state": "repeat", "turn": 0, "shuffle": 0, "votes": 1, "taken": 1, "done": 0,
        }  # fmt: skip
        self.connection.execute(question.insert().values(copied | own))
        return self.sit(copied | own, order=row["shown"].get("order", [0, 1])[::-1])

    def _aside(self, state: str) -> Seat | None:
        """A gold, tutorial or exam question that this rater has not had."""
        start = self.dice.getrandbits(31) if state == "gold" else 0
        chosen = {"project": self.settings.id, "state": state, "start": start, "rater": self.rater}
        for query in (FROM_HERE_ASIDE, BEFORE_HERE_ASIDE):
            if row := query.first(self.connection, chosen):
                TAKE_ASIDE.run(self.connection, {"key": row["id"]})
                return self.sit(row)
        return None

    # Tutorial and exam

    def _training(self, stage: str) -> Seat | None:
        """The next question of the tutorial or the exam; when all are answered, the next stage."""
        if seat := self._aside(stage):
            return seat
        passed = stage == "tutorial" or self._exam() >= self.settings.pass_mark
        after = "exam" if stage == "tutorial" else "passed" if passed else "failed"
        where = (member.c.project == self.settings.id) & (member.c.rater == self.rater)
        tries = member.c.tries + int(stage == "exam")
        self.connection.execute(sa.update(member).where(where).values(stage=after, tries=tries))
        if after == "failed":
            return None
        return self._training("exam") if after == "exam" else self.seat()

    def _exam(self) -> float:
        """The share of the exam's questions that were answered right, 1 where there was no exam; one that was let go
        unanswered counts as wrong."""
        query = (
            sa.select(assignment.c.answer, question.c.spec)
            .join(question, question.c.id == assignment.c.question)
            .where(
                assignment.c.rater == self.rater,
                assignment.c.project == self.settings.id,
                assignment.c.state != "leased",
                question.c.state == "exam",
            )
        )
        marks = [is_right(answer, spec) for answer, spec in self.connection.execute(query)]
        return sum(marks) / len(marks) if marks else 1.0
