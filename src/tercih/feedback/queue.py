"""The queue: who is asked what, and what becomes of the answer. The database enforces it, however many servers run.

A claim takes a seat at a question, and the seat is a lease: answered in time it becomes an answer, else another rater
gets it. Three constraints hold whatever the code does: no more seats than raters wanted, no rater twice at a question,
no answer without a seat. Every call is one transaction.

States of a question: "open" (seats are free), "full" (all are taken), "closed" (answered), "dissent" (raters disagree
to the end: the lead decides), "withdrawn"; and outside the common queue "gold", "tutorial", "exam", "repeat", and
"chat" for what a rater's own conversation asks.
"""

import random
import time as clock
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from tercih.feedback import kinds
from tercih.feedback.database import Database, StoreError
from tercih.feedback.overlap import is_right, posterior, verdict
from tercih.feedback.projects import Project
from tercih.feedback.statements import (
    ANSWER,
    BEFORE_HERE,
    BEFORE_HERE_ASIDE,
    COUNT,
    EARLIER,
    FROM_HERE,
    FROM_HERE_ASIDE,
    GIVE_BACK,
    HAD,
    HELD,
    ITEM,
    LOG,
    NEXT_TURN,
    RAN_OUT,
    SEAT,
    SIT,
    TAKE,
    TAKE_ASIDE,
    UNCOUNT,
    WHO,
)
from tercih.feedback.store import load_items
from tercih.feedback.tables import assignment, event, item_of, member, question, quota
from tercih.feedback.tables import project as projects
from tercih.records import Item, content_hash

STATES = ("open", "full", "closed", "dissent", "withdrawn", "gold", "tutorial", "exam", "repeat", "chat")
ASIDE = STATES[5:]
SWEEP_EVERY = 5.0  # seconds between two looks for leases that ran out
TRIES = 5  # of one claim, where other servers are faster
REPEAT_AFTER = (5, 40)  # a repeat comes so many answers later, so that the first is not remembered
LATE = "the time for this question ran out, and others have answered it; your answer is in the log"
NEEDS_ITEMS = ("spans", "live")  # kinds whose answers are checked against what was shown


class QueueError(StoreError):
    """What a rater asked for cannot be; `status` is HTTP's."""

    status = 409


class NotYours(QueueError):
    status = 403


class Unknown(QueueError):
    status = 404


class Gone(QueueError):
    """The lease ran out or the question was withdrawn; what was said is kept in the log."""

    status = 410


@dataclass(frozen=True, kw_only=True, slots=True)
class Seat:
    """One rater's seat at one question, with everything a page needs. `items` stand in the order they are shown."""

    id: int
    question: str
    project: str
    rater: str
    kind: str
    state: str
    items: tuple[Item, ...]
    order: tuple[int, ...]
    spec: Mapping[str, Any]
    shown: Mapping[str, Any]
    answer: Mapping[str, Any] | None
    version: int
    expires: float


@dataclass(kw_only=True)
class Queue:
    """`claim`, `submit`, `skip`, `undo`: what a rater does. `now` and `dice` are replaced in tests."""

    database: Database
    now: Callable[[], float] = clock.time
    dice: random.Random = field(default_factory=random.Random)
    _swept: float = 0.0
    _projects: dict[str, tuple[float, Project]] = field(default_factory=dict)

    # What a rater does

    def claim(self, project: str, rater: str, *, besides: Collection[int] = ()) -> Seat | None:
        """The question this rater holds already (but none of `besides`, which are on their screen), or a new one; None
        where there is none for them."""
        settings = self.settings(project)
        self._sweep()
        for _ in range(TRIES):
            try:
                with self.database.transaction(write=True) as connection:
                    return self._claim(connection, settings, rater, besides)
            except IntegrityError as error:
                if "quota" in str(error):
                    return None
        raise QueueError("many people are asking at once; try again")

    def turn(
        self,
        seat: int,
        rater: str,
        answer: Mapping[str, Any],
        *,
        key: str | None = None,
        seconds: float | None = None,
        version: int | None = None,
    ) -> tuple[int, Seat | None]:
        """`submit` and then `claim` in the same project; in one transaction, which the database does in half the time.

        What keeps the claim from succeeding does not touch the answer, which is then kept first, and by itself.
        """
        self._sweep()
        try:
            with self.database.transaction(write=True) as connection:
                row = self._row(connection, seat, rater)
                newest, late = self._submit(connection, row, answer, key, seconds, version)
                if not late:
                    return newest, self._claim(connection, self.settings(row["project"]), rater, ())
        except (IntegrityError, QueueError):
            newest = self.submit(seat, rater, answer, key=key, seconds=seconds, version=version)
            return newest, self.claim(self.project_of(seat, rater), rater)
        raise Gone(LATE)

    def sit(self, project: str, key: str, rater: str) -> Seat:
        """This rater's seat at a question of their own conversation, taken now where they have none.

        Raises Unknown where there is no such question, and NotYours where it is somebody else's.
        """
        settings = replace(self.settings(project), notes_first=False)  # half of what is shown, they have read already
        own = sa.select(question).where(question.c.id == key, question.c.project == project)
        seats = sa.select(assignment.c.id, assignment.c.rater).where(assignment.c.question == key)
        with self.database.transaction(write=True) as connection:
            asked = connection.execute(own.with_for_update()).mappings().first()
            seat = connection.execute(seats).first()
            if asked is None or (seat is None and asked["state"] != "chat"):
                raise Unknown("there is no such question")
            if seat is None:
                TAKE_ASIDE.run(connection, {"key": key})
                return self._sit(connection, settings, rater, dict(asked))
            if seat.rater != rater:
                raise NotYours("this question is part of somebody else's conversation")
            return self._look(connection, seat.id)

    def submit(
        self,
        seat: int,
        rater: str,
        answer: Mapping[str, Any],
        *,
        key: str | None = None,
        seconds: float | None = None,
        version: int | None = None,
    ) -> int:
        """Record an answer and return its version; the same `key` again changes nothing and returns the same.

        An answer to a question that was answered before is a new version; `version` is the one it replaces, so that
        two windows cannot overwrite each other unseen. Raises AnswerError, or a QueueError: NotYours, Unknown, Gone.
        """
        try:
            with self.database.transaction(write=True) as connection:
                row = self._row(connection, seat, rater)
                newest, late = self._submit(connection, row, answer, key, seconds, version)
        except IntegrityError:
            return self._again(key, rater)
        if late:
            raise Gone(LATE)
        return newest

    def skip(self, seat: int, rater: str, *, reason: str = "", key: str | None = None) -> None:
        """Hand a question to others. It does not come back to this rater."""
        try:
            with self.database.transaction(write=True) as connection:
                row = self._row(connection, seat, rater)
                if row["state"] == "leased":
                    self._leave(connection, row, "skipped")
                    self._log(connection, "skip", row, {"question": row["question"], "reason": reason[:500]}, key=key)
        except IntegrityError:
            self._again(key, rater)

    def undo(self, project: str, rater: str, *, key: str | None = None) -> Seat | None:
        """Take back the latest answer or skip, and return to it; None where there is nothing to take back.

        The log keeps both the answer and its taking back.
        """
        query = (
            sa.select(assignment)
            .where(
                assignment.c.rater == rater,
                assignment.c.project == project,
                assignment.c.state.in_(("done", "skipped")),
            )
            .order_by(assignment.c.time.desc(), assignment.c.id.desc())
            .limit(1)
        )
        with self.database.transaction(write=True) as connection:
            if key and connection.scalar(sa.select(event.c.id).where(event.c.key == key)):
                held = self._held(connection, project, rater, ())
                return self._look(connection, held) if held else None
            last = connection.execute(query).mappings().first()
            if last is None:
                return None
            row = self._row(connection, last["id"], rater)
            if row["question_state"] in ("tutorial", "exam"):
                raise QueueError("an answer of the tutorial or the exam cannot be taken back")
            if "act" in row["shown"]:
                raise QueueError("what was said while an agent acted cannot be said again")
            if row["state"] == "skipped":
                if not self._regain(connection, row):
                    raise Gone("others have taken that question meanwhile")
            else:
                UNCOUNT.run(connection, {"key": row["question"]})
            lease = {"state": "leased", "expires": self._lease(project), "claimed": self.now()}
            connection.execute(sa.update(assignment).where(assignment.c.id == row["id"]).values(lease))
            self._log(connection, "undo", row, {"question": row["question"], "answer": row["answer"]}, key=key)
            return self._look(connection, row["id"])

    def look(self, seat: int, rater: str) -> Seat:
        """A seat of this rater's, whatever became of it. Raises Unknown or NotYours."""
        with self.database.transaction() as connection:
            self._row(connection, seat, rater)
            return self._look(connection, seat)

    def project_of(self, seat: int, rater: str) -> str:
        """Where a seat of this rater's is. Raises Unknown or NotYours."""
        with self.database.transaction() as connection:
            return str(self._row(connection, seat, rater)["project"])

    def settings(self, name: str) -> Project:
        """Of a project; looked up again every few seconds. Raises Unknown."""
        known = self._projects.get(name)
        if known and self.now() - known[0] < SWEEP_EVERY:
            return known[1]
        with self.database.transaction() as connection:
            config = connection.scalar(sa.select(projects.c.config).where(projects.c.id == name))
        if config is None:
            raise Unknown(f"there is no project {name!r}")
        settings = Project.of(name, config)
        self._projects[name] = (self.now(), settings)
        return settings

    def changed(self, name: str) -> None:
        """A project's settings were changed: they are looked up at once, not when they are a few seconds old."""
        self._projects.pop(name, None)

    # Finding a question

    def _claim(self, connection: sa.Connection, settings: Project, rater: str, besides: Collection[int]) -> Seat | None:
        held = self._held(connection, settings.id, rater, besides)
        return self._look(connection, held) if held else self._new_seat(connection, settings, rater)

    def _held(self, connection: sa.Connection, project: str, rater: str, besides: Collection[int]) -> int | None:
        held = HELD.all(connection, {"project": project, "rater": rater, "now": self.now()})
        return next((row["id"] for row in held if row["id"] not in besides), None)

    def _new_seat(self, connection: sa.Connection, settings: Project, name: str) -> Seat | None:
        who = WHO.first(connection, {"project": settings.id, "rater": name})
        if who is None or who["state"] != "active":
            raise NotYours(f"{name} is paused; the lead can say why" if who else f"there is no rater {name!r}")
        stage = who["stage"]
        if stage in ("tutorial", "exam"):
            return self._training(connection, settings, name, stage)
        if stage == "failed":
            raise NotYours("the exam was not passed; the lead can open it again")
        seat = self._drawn(connection, settings, name)
        if seat and settings.quotas and who["stratum"] in settings.quotas:
            here = (quota.c.project == settings.id) & (quota.c.stratum == who["stratum"])
            connection.execute(sa.update(quota).where(here).values(taken=quota.c.taken + 1))
        return seat

    def _drawn(self, connection: sa.Connection, settings: Project, name: str) -> Seat | None:
        """A repeat or a gold question in their share, else one of the common queue."""
        draw = self.dice.random()
        for state, share, drawn in (
            ("repeat", settings.repeats, draw < settings.repeats),
            ("gold", settings.golds, draw > 1 - settings.golds),
        ):
            if drawn and self._due(connection, settings, name, state, share):
                repeat = state == "repeat"
                seat = (
                    self._repeat(connection, settings, name)
                    if repeat
                    else self._aside(connection, settings, name, state)
                )
                if seat:
                    return seat
        return self._common(connection, settings, name)

    def _common(self, connection: sa.Connection, settings: Project, name: str) -> Seat | None:
        """The first turn with a question for this rater; within a turn from a random place on, so that neither raters
        nor servers queue for the same one."""
        after: int | None = -(2**31)
        while after is not None:
            chosen = {"project": settings.id, "after": after, "start": self.dice.getrandbits(31), "rater": name}
            for query in (FROM_HERE, BEFORE_HERE):
                row = query.first(connection, chosen)
                if row is not None:
                    TAKE.run(connection, {"key": row["id"], "by": -1 if settings.deep_first else 1})
                    return self._sit(connection, settings, name, row)
            after = NEXT_TURN.scalar(connection, {"project": settings.id, "after": after})
        return None

    def _aside(self, connection: sa.Connection, settings: Project, name: str, state: str) -> Seat | None:
        """A gold, tutorial or exam question that this rater has not had."""
        start = self.dice.getrandbits(31) if state == "gold" else 0
        for query in (FROM_HERE_ASIDE, BEFORE_HERE_ASIDE):
            chosen = {"project": settings.id, "state": state, "start": start, "rater": name}
            row = query.first(connection, chosen)
            if row is not None:
                TAKE_ASIDE.run(connection, {"key": row["id"]})
                return self._sit(connection, settings, name, row)
        return None

    def _training(self, connection: sa.Connection, settings: Project, name: str, stage: str) -> Seat | None:
        """The next question of the tutorial or the exam; when all are answered, the next stage."""
        if seat := self._aside(connection, settings, name, stage):
            return seat
        passed = stage == "tutorial" or self._exam(connection, settings, name) >= settings.pass_mark
        after = "exam" if stage == "tutorial" else "passed" if passed else "failed"
        where = (member.c.project == settings.id) & (member.c.rater == name)
        tries = member.c.tries + int(stage == "exam")
        connection.execute(sa.update(member).where(where).values(stage=after, tries=tries))
        if after == "failed":
            return None
        return (
            self._training(connection, settings, name, "exam")
            if after == "exam"
            else self._new_seat(connection, settings, name)
        )

    def _exam(self, connection: sa.Connection, settings: Project, name: str) -> float:
        """The share of the exam's questions that were answered right, 1 where there was no exam; one that was let go
        unanswered counts as wrong."""
        query = (
            sa.select(assignment.c.answer, question.c.spec)
            .join(question, question.c.id == assignment.c.question)
            .where(
                assignment.c.rater == name,
                assignment.c.project == settings.id,
                assignment.c.state != "leased",
                question.c.state == "exam",
            )
        )
        marks = [is_right(answer, spec) for answer, spec in connection.execute(query)]
        return sum(marks) / len(marks) if marks else 1.0

    def _due(self, connection: sa.Connection, settings: Project, name: str, state: str, share: float) -> bool:
        """Whether this rater has had fewer of these than their share: one who waits for work is not given repeats."""
        had = HAD.first(connection, {"rater": name, "project": settings.id, "aside": state})
        return had is not None and (had["aside"] or 0) < share * had["all"] + 1

    def _repeat(self, connection: sa.Connection, settings: Project, name: str) -> Seat | None:
        """A pair this rater judged a while ago, the other way round."""
        back = self.dice.randint(*REPEAT_AFTER)
        row = EARLIER.first(connection, {"rater": name, "project": settings.id, "back": back})
        if row is None or row["kind"] != "pair":
            return None
        key = content_hash(["repeat", row["question"], name])
        if connection.scalar(sa.select(question.c.id).where(question.c.id == key)):
            return None
        copied = {c: row[c] for c in ("project", "run", "step", "kind", "items", "spec", "sampler", "propensity")}
        own = {
            "id": key, "run": f"{row['run']} repeat {name}", "index": int(key[:7], 16), "repeats": row["question"],
            "state": "repeat", "turn": 0, "shuffle": 0, "votes": 1, "taken": 1, "done": 0,
        }  # fmt: skip
        connection.execute(question.insert().values(copied | own))
        return self._sit(connection, settings, name, copied | own, order=row["shown"].get("order", [0, 1])[::-1])

    def _sit(
        self,
        connection: sa.Connection,
        settings: Project,
        name: str,
        row: Mapping[str, Any],
        order: list[int] | None = None,
    ) -> Seat:
        """Take the seat: what is shown, and in which order, is decided and written down here."""
        if order is None:
            order = list(range(len(row["items"])))
            self.dice.shuffle(order)
        shown: dict[str, Any] = {"order": order}
        if settings.suggestions and "suggestion" in row["spec"] and row.get("state") == "open":
            shown["suggestion"] = self.dice.random() < settings.suggestions
        if settings.notes_first:
            shown["notes_first"] = True
        now = self.now()
        seat = {
            "question": row["id"], "rater": name, "project": settings.id, "state": "leased", "claimed": now,
            "expires": now + 60 * settings.lease_minutes, "shown": shown, "version": 0,
        }  # fmt: skip
        rest = {
            "id": SIT.scalar(connection, seat),
            "answer": None,
            **{name: row[name] for name in ("kind", "items", "spec")},
        }
        return seat_of(connection, seat | rest)

    # What becomes of an answer

    def _submit(
        self,
        connection: sa.Connection,
        row: Mapping[str, Any],
        answer: Mapping[str, Any],
        key: str | None,
        seconds: float | None,
        version: int | None,
    ) -> tuple[int, bool]:
        """The version that now stands, and whether the answer came too late and is in the log alone."""
        now, checked = self.now(), self._checked(connection, row, answer)
        if row["state"] == "done":
            return self._edit(connection, row, checked, key, seconds, version, now), False
        if row["state"] != "leased" and not self._regain(connection, row):
            self._log(connection, "late", row, {"answer": checked}, key=key, time=now)
            return int(row["version"]), True
        newest = int(row["version"]) + 1
        ANSWER.run(connection, {"seat": row["id"], "said": checked, "newest": newest, "at": now, "took": seconds})
        COUNT.run(connection, {"key": row["question"]})
        payload = {"question": row["question"], "answer": checked, "shown": row["shown"], "seconds": seconds}
        self._log(connection, "answer", row, payload, key=key, time=now)
        self._after(connection, row, checked)
        return newest, False

    def _row(self, connection: sa.Connection, seat: int, rater: str) -> dict[str, Any]:
        row = SEAT.first(connection, {"seat": seat})
        if row is None:
            raise Unknown("there is no such question")
        if row["rater"] != rater:
            raise NotYours("this question was given to somebody else")
        return row

    def _checked(self, connection: sa.Connection, row: Mapping[str, Any], answer: Mapping[str, Any]) -> kinds.Answer:
        if row["question_state"] == "withdrawn":
            raise Gone("this question has been withdrawn")
        kind, ids = row["kind"], row["items"]
        items = load_items(connection, ids) if kind in NEEDS_ITEMS else {}
        return kinds.check(kind, answer, [items.get(key, key) for key in ids], row["spec"])

    def _edit(
        self,
        connection: sa.Connection,
        row: Mapping[str, Any],
        answer: kinds.Answer,
        key: str | None,
        seconds: float | None,
        version: int | None,
        now: float,
    ) -> int:
        if key and (before := connection.execute(sa.select(event).where(event.c.key == key)).mappings().first()):
            return self._version(dict(before), row["rater"])
        if row["question_state"] in ("tutorial", "exam", "gold", "repeat"):
            raise QueueError("this answer cannot be changed any more")
        if version is not None and version != row["version"]:
            raise QueueError("this answer was changed in another window; look at it again")
        if answer == row["answer"]:
            return int(row["version"])
        values = {"seat": row["id"], "said": answer, "newest": row["version"] + 1, "at": row["time"], "took": seconds}
        ANSWER.run(connection, values)
        payload = {
            "question": row["question"],
            "answer": answer,
            "before": row["answer"],
            "version": row["version"] + 1,
        }
        self._log(connection, "edit", row, payload, key=key, time=now)
        return int(row["version"]) + 1

    def _regain(self, connection: sa.Connection, row: Mapping[str, Any]) -> bool:
        """Take a seat back that was left, if it is still free."""
        free = sa.select(question.c.taken, question.c.votes, question.c.state).where(question.c.id == row["question"])
        taken, votes, state = connection.execute(free).one()
        if state in ASIDE:
            TAKE_ASIDE.run(connection, {"key": row["question"]})
            return True
        if state != "open" or (votes is not None and taken >= votes):
            return False
        TAKE.run(connection, {"key": row["question"], "by": 1})
        return True

    def _leave(self, connection: sa.Connection, row: Mapping[str, Any], state: str) -> None:
        now = self.now()
        connection.execute(sa.update(assignment).where(assignment.c.id == row["id"]).values(state=state, time=now))
        GIVE_BACK.run(connection, {"key": row["question"]})

    def _sweep(self) -> None:
        """Leases that ran out go back to the queue."""
        now = self.now()
        if now - self._swept < SWEEP_EVERY:
            return
        self._swept = now
        with self.database.transaction() as connection:
            late = RAN_OUT.all(connection, {"now": now})
        for each in late:
            with self.database.transaction(write=True) as connection:
                row = self._row(connection, each["id"], each["rater"])
                if row["state"] == "leased" and row["expires"] < now:
                    self._leave(connection, row, "expired")
                    self._log(connection, "expire", row, {"question": row["question"]})

    def _after(self, connection: sa.Connection, row: Mapping[str, Any], answer: kinds.Answer) -> None:
        """Adaptive overlap: enough raters, one more, or a case for the lead."""
        if row["question_state"] not in ("open", "full"):
            return
        settings = self.settings(row["project"])
        if not settings.adaptive or row["done"] + 1 < settings.votes:
            return
        said = sa.select(assignment.c.answer, assignment.c.rater).where(
            assignment.c.question == row["question"], assignment.c.state == "done"
        )
        answers = [verdict(row["kind"], given) for given, _ in connection.execute(said)]
        here = question.c.id == row["question"]
        if posterior(answers) >= settings.sure:
            connection.execute(
                sa.update(question).where(here, question.c.taken == question.c.done).values(state="closed")
            )
        elif row["votes"] < settings.most_votes:
            if row["done"] + 1 >= row["votes"]:
                connection.execute(sa.update(question).where(here).values(votes=question.c.votes + 1, state="open"))
        elif row["done"] + 1 >= row["votes"]:
            connection.execute(sa.update(question).where(here).values(state="dissent"))

    # The log

    def _log(
        self,
        connection: sa.Connection,
        kind: str,
        row: Mapping[str, Any],
        payload: Mapping[str, Any],
        *,
        key: str | None = None,
        time: float | None = None,
    ) -> None:
        values = {
            "key": key, "time": self.now() if time is None else time, "kind": kind, "rater": row["rater"],
            "project": row["project"], "assignment": row["id"], "payload": payload,
        }  # fmt: skip
        LOG.run(connection, values)

    def _again(self, key: str | None, rater: str) -> int:
        """What the first call with this key returned."""
        with self.database.transaction() as connection:
            before = connection.execute(sa.select(event).where(event.c.key == key)).mappings().first()
        if before is None:
            raise QueueError("somebody else was faster; try again")
        return self._version(dict(before), rater)

    @staticmethod
    def _version(before: Mapping[str, Any], rater: str) -> int:
        if before["rater"] != rater:
            raise NotYours("this key belongs to somebody else's answer")
        if before["kind"] == "late":
            raise Gone(LATE)
        return int(before["payload"].get("version", 1))

    def _lease(self, project: str) -> float:
        return self.now() + 60 * self.settings(project).lease_minutes

    @staticmethod
    def _look(connection: sa.Connection, seat: int) -> Seat:
        row = SEAT.first(connection, {"seat": seat})
        assert row is not None
        return seat_of(connection, row)


def seat_of(connection: sa.Connection, row: Mapping[str, Any]) -> Seat:
    """What a page needs, with the items in the order they are shown."""
    ids, order = row["items"], row["shown"].get("order") or list(range(len(row["items"])))
    items = {key: item_of(ITEM.first(connection, {"key": key}) or {}) for key in ids}
    names = (
        "id", "question", "project", "rater", "kind", "state", "spec", "shown", "answer", "version", "expires",
    )  # fmt: skip
    return Seat(
        items=tuple(items[ids[place]] for place in order), order=tuple(order), **{name: row[name] for name in names}
    )
