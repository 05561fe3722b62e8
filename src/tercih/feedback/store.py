"""What a run asks and what it has been told: questions go in, comparisons come out.

What one call writes is one transaction: a process killed at any moment leaves all of it or none of it, and what a call
has returned from is on disk. Simulated raters and people fill the same tables; people through the queue
(`feedback/queue.py`), simulated ones by `judge_all`.
"""

import random
import time as clock
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from tercih.feedback import tables
from tercih.feedback.database import Database, StoreError
from tercih.feedback.projects import check_name
from tercih.feedback.questions import Judgement, Question
from tercih.feedback.tables import assignment, event, fit, item, project, question, rater
from tercih.records import Answer, Comparison, Item, Side

__all__ = ["Judgement", "Question", "Store", "StoreError"]

CHUNK = 500  # ids in one IN (…): any database takes as many
RECEIVED = "received"  # in `fit`: how far a server's log has been read
TIES = ("tie", "all_bad")  # neither is better; that both are bad, only the answer itself says

Rows = dict[str, dict[str, Any]]


class Store:
    """Items, questions, raters and their judgements in one database.

    `place` is the path of an SQLite file (made if it is missing), a database URL, or an open `Database`. Raises
    `StoreError` when it cannot be opened or is newer than this program. Usable as a context manager, and by several
    threads and processes.
    """

    def __init__(self, place: str | Path | Database) -> None:
        self.database = place if isinstance(place, Database) else Database(place)
        self.place = self.database.place

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database; nothing is pending."""
        self.database.close()

    def ask(self, questions: Sequence[Question], *, state: str = "open") -> list[str]:
        """Put questions and return their ids; to ask the same again is a no-op.

        With another `state`, "gold", "tutorial" or "exam", they stand outside the common queue, for every rater once;
        with "chat" too, for the one rater whose conversation they are about.

        Raises `StoreError` if a question of this run, step and index is about other items, `ProjectError` if its
        project (its run, where it names none) is a new one that cannot have that name. Of two items that read the same
        the first one stored is kept, with its tokens and its origin.
        """
        items = {each.id: each for asked in questions for each in asked.items}
        with self.database.transaction(write=True) as connection:
            stored = _ids(connection, item, items)
            _insert(connection, item, [tables.item_row(each) for key, each in items.items() if key not in stored])
            places = {asked.project or asked.run for asked in questions}
            made = _ids(connection, project, places)
            for name in sorted(places - made):
                check_name(name)
            new_places = [{"id": name, "config": {}, "created": clock.time()} for name in sorted(places - made)]
            _insert(connection, project, new_places)
            before = _rows(connection, question, [asked.id for asked in questions])
            new: Rows = {}
            for asked in questions:
                row = question_row(asked)
                if state != "open":
                    row |= {"state": state, "votes": row["votes"] if state == "chat" else None}
                old = before.get(asked.id) or new.setdefault(asked.id, row)
                if (old["items"], old["kind"]) != (row["items"], row["kind"]):
                    raise StoreError(
                        f"question {asked.index} of step {asked.step} in run {asked.run!r} was asked about other "
                        "items; give a new run another name, and resume an old one from what questions() returns"
                    )
            _insert(connection, question, list(new.values()))
        return [asked.id for asked in questions]

    def questions(self, run: str, step: int | None = None) -> list[Question]:
        """What a run has asked (at one step), by step and index."""
        with self.database.transaction() as connection:
            return _questions(connection, _asked_by(run, step))

    def open_questions(self, run: str, votes: int | None = None) -> list[Question]:
        """The questions of a run that fewer than `votes` raters (None: than are wanted) have judged."""
        query = _asked_by(run).where(question.c.done < (question.c.votes if votes is None else votes))
        with self.database.transaction() as connection:
            return _questions(connection, query)

    def judged_by(self, run: str) -> dict[str, set[str]]:
        """Of every question of a run, by id: who has judged it."""
        said = (assignment.c.question == question.c.id) & (assignment.c.state == "done")
        query = sa.select(question.c.id, assignment.c.rater).outerjoin(assignment, said).where(question.c.run == run)
        judged: dict[str, set[str]] = {}
        with self.database.transaction() as connection:
            for key, name in connection.execute(query):
                judged.setdefault(key, set()).update(() if name is None else (name,))
        return judged

    def enrol(
        self,
        name: str,
        kind: Literal["person", "simulated"] = "person",
        *,
        role: str = "rater",
        stratum: str | None = None,
    ) -> None:
        """Make a rater known by a pseudonym; again is a no-op. Names "simulated-…" are for simulated raters alone."""
        if not name or name.startswith("simulated-") != (kind == "simulated"):
            raise StoreError(f"a {kind} rater cannot be named {name!r}: 'simulated-…' names simulated raters, no other")
        row = {"id": name, "kind": kind, "role": role, "state": "active", "stratum": stratum, "created": clock.time()}
        with self.database.transaction(write=True) as connection:
            if not _ids(connection, rater, [name]):
                connection.execute(rater.insert().values(row))

    def judge(self, question_id: str, rater: str, answer: Answer, **rest: Any) -> None:
        """Record one judgement; `rest` are the further fields of `Judgement`. See `judge_all`."""
        self.judge_all([Judgement(question=question_id, rater=rater, answer=answer, **rest)])

    def judge_all(self, judgements: Sequence[Judgement]) -> int:
        """Record all of these or, if one cannot be, none; returns how many were new.

        The same answer again is a no-op, so that what was interrupted can be repeated; another answer by the same
        rater to the same question is a `StoreError`, as is an unknown question or rater, or one rater more than wanted.
        """
        with self.database.transaction(write=True) as connection:
            asked = _rows(connection, question, [each.question for each in judgements])
            raters = _ids(connection, rater, [each.rater for each in judgements])
            seats = _where_in(connection, sa.select(assignment), assignment.c.question, asked)
            said = {(seat["question"], seat["rater"]): (seat["answer"], seat["shown"]) for seat in seats}
            new: list[Judgement] = []
            for each in judgements:
                if each.question not in asked:
                    raise StoreError(f"there is no question {each.question!r} in {self.place}; ask() it first")
                if each.rater not in raters:
                    raise StoreError(f"there is no rater {each.rater!r} in {self.place}; enrol() it first")
                before = said.get((each.question, each.rater))
                if before is None:
                    said[each.question, each.rater] = (each.said, each.shown)
                    new.append(each)
                elif before != (each.said, each.shown):
                    raise StoreError(
                        f"rater {each.rater!r} has answered question {each.question!r} with {before[0].get('choice')!r}"
                        f" (shown: {before[1]}), not {each.answer!r} ({each.shown}); an answer once given stays"
                    )
            self._seat(connection, new, asked)
        return len(new)

    def _seat(self, connection: sa.Connection, new: Sequence[Judgement], asked: Rows) -> None:
        """Judgements made in one go: seats taken and answered at once, and the events that say so."""
        votes: dict[str, int] = {}
        for each in new:
            votes[each.question] = votes.get(each.question, 0) + 1
            row = asked[each.question]
            if row["votes"] is not None and row["taken"] + votes[each.question] > row["votes"]:
                raise StoreError(
                    f"question {each.question!r} wants {row['votes']} raters, and all their seats are taken; ask it"
                    " with more votes"
                )
        counted = (
            sa.update(question)
            .where(question.c.id == sa.bindparam("key"))
            .values(
                taken=question.c.taken + sa.bindparam("more"),
                done=question.c.done + sa.bindparam("more"),
                turn=question.c.turn + sa.bindparam("more"),
                state=sa.case(
                    (question.c.done + sa.bindparam("more") >= question.c.votes, "closed"), else_=question.c.state
                ),
            )
        )
        if votes:
            connection.execute(counted, [{"key": key, "more": more} for key, more in votes.items()])
        seats, events = [], []
        for each in new:
            time = clock.time() if each.time is None else each.time
            place = asked[each.question]["project"]
            seats.append(
                {
                    "question": each.question, "rater": each.rater, "project": place, "state": "done", "claimed": time,
                    "expires": time, "shown": each.shown, "answer": each.said, "version": 1, "time": time,
                    "seconds": each.seconds,
                }
            )  # fmt: skip
            payload = {"question": each.question, "answer": each.said, "shown": each.shown}
            events.append({"time": time, "kind": "answer", "rater": each.rater, "project": place, "payload": payload})
        _insert(connection, assignment, seats)
        _insert(connection, event, events)

    def receive(self, run: str, events: Sequence[Mapping[str, Any]]) -> int:
        """Copy what people said on a labelling server into this store; returns how many answers stand now.

        `events` are rows of the server's log in its order, with `id`, `kind`, `rater`, `time` and `payload`; those up
        to the last one received are passed over, so that nothing counts twice whoever was killed.
        """
        with self.database.transaction(write=True) as connection:
            asked = connection.execute(sa.select(question).where(question.c.run == run)).mappings()
            known = {row["id"]: dict(row) for row in asked}
            since = self._received(connection, run)
            for each in events:
                key = each["payload"].get("question")
                if each["id"] <= since or key not in known:
                    continue
                self._mirror(connection, each, known[key])
            if events:
                newest = {
                    "events": max(since, max(int(each["id"]) for each in events)),
                    "time": clock.time(),
                    "result": {},
                }
                here = (fit.c.project == run) & (fit.c.kind == RECEIVED)
                if since:
                    connection.execute(sa.update(fit).where(here).values(newest))
                else:
                    connection.execute(fit.insert().values(newest | {"project": run, "kind": RECEIVED}))
            standing = (assignment.c.project == run) & (assignment.c.state == "done")
            return int(connection.scalar(sa.select(sa.func.count()).where(standing)) or 0)

    def received(self, run: str) -> int:
        """The id of the last event received for a run; 0 where there was none."""
        with self.database.transaction() as connection:
            return self._received(connection, run)

    @staticmethod
    def _received(connection: sa.Connection, run: str) -> int:
        query = sa.select(fit.c.events).where(fit.c.project == run, fit.c.kind == RECEIVED)
        return int(connection.scalar(query) or 0)

    @staticmethod
    def _mirror(connection: sa.Connection, said: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
        """One event: an answer that now stands, or one that no longer does."""
        here = (assignment.c.question == asked["id"]) & (assignment.c.rater == said["rater"])
        stands = connection.scalar(sa.select(assignment.c.id).where(here, assignment.c.state == "done"))
        counted = sa.update(question).where(question.c.id == asked["id"])
        if said["kind"] == "undo" and stands:
            connection.execute(sa.delete(assignment).where(here))
            connection.execute(counted.values(taken=question.c.taken - 1, done=question.c.done - 1))
        if said["kind"] not in ("answer", "edit"):
            return
        payload = said["payload"]
        if stands:
            connection.execute(sa.update(assignment).where(here).values(answer=payload["answer"]))
            return
        if not _ids(connection, rater, [said["rater"]]):
            kind = "simulated" if said["rater"].startswith("simulated-") else "person"
            who = {"id": said["rater"], "kind": kind, "role": "rater", "state": "active", "created": said["time"]}
            connection.execute(rater.insert().values(who))
        seat = {
            "question": asked["id"], "rater": said["rater"], "project": asked["project"], "state": "done",
            "claimed": said["time"], "expires": said["time"], "shown": payload.get("shown", {}),
            "answer": payload["answer"], "version": 1, "time": said["time"], "seconds": payload.get("seconds"),
        }  # fmt: skip
        connection.execute(assignment.insert().values(seat))
        wanted = sa.case((question.c.taken + 1 > question.c.votes, question.c.taken + 1), else_=question.c.votes)
        connection.execute(counted.values(taken=question.c.taken + 1, done=question.c.done + 1, votes=wanted))

    def comparisons(
        self, run: str | None = None, step: int | None = None, *, project: str | None = None
    ) -> list[Comparison]:
        """Every answer to a pair (of a run, of one of its steps, of a project), in the order in which they came."""
        query = (
            sa.select(*assignment.c, *(question.c[name] for name in ("items", "sampler", "propensity")))
            .join(question, question.c.id == assignment.c.question)
            .where(assignment.c.state == "done", question.c.kind == "pair", question.c.repeats.is_(None))
            .order_by(assignment.c.time, assignment.c.id)
        )
        if run is not None:
            query = query.where(question.c.run == run)
        if step is not None:
            query = query.where(question.c.step == step)
        if project is not None:
            query = query.where(question.c.project == project)
        with self.database.transaction() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
            items = items_of(connection, rows)
        return [comparison_of(row, items) for row in rows if row["answer"].get("choice") in ("a", "b", *TIES)]


def question_row(asked: Question) -> dict[str, Any]:
    return {
        "id": asked.id,
        "project": asked.project or asked.run,
        "run": asked.run,
        "step": asked.step,
        "index": asked.index,
        "kind": asked.kind,
        "items": [each.id for each in asked.items],
        "spec": dict(asked.spec),
        "sampler": asked.sampler,
        "propensity": asked.propensity,
        "repeats": None,
        "state": "open",
        "turn": 0,
        "shuffle": random.getrandbits(31),
        "votes": asked.votes,
        "taken": 0,
        "done": 0,
    }


def comparison_of(row: dict[str, Any], items: dict[str, Any]) -> Comparison:
    a, b = row["items"]
    order, choice = row["shown"].get("order"), row["answer"]["choice"]
    left: Side | None = None if order is None else ("a", "b")[order[0]]
    return Comparison(
        a=items[a],
        b=items[b],
        answer="tie" if choice in TIES else choice,
        left=left,
        strength=row["answer"].get("strength", 1.0),
        **{name: row[name] for name in ("rater", "time", "seconds", "sampler", "propensity")},
    )


def _questions(connection: sa.Connection, query: sa.Select[Any]) -> list[Question]:
    rows = [dict(row) for row in connection.execute(query).mappings()]
    items = items_of(connection, rows)
    names = ("run", "step", "index", "kind", "spec", "sampler", "propensity", "votes")
    return [
        Question(
            items=tuple(items[key] for key in row["items"]),
            project="" if row["project"] == row["run"] else row["project"],
            **{name: row[name] for name in names},
        )
        for row in rows
    ]


def _asked_by(run: str, step: int | None = None) -> sa.Select[Any]:
    query = sa.select(question).where(question.c.run == run, question.c.repeats.is_(None))
    query = query.order_by(question.c.step, question.c.index)
    return query if step is None else query.where(question.c.step == step)


def _ids(connection: sa.Connection, table: sa.Table, ids: Iterable[str]) -> set[str]:
    """Those of these ids that exist in a table."""
    return {row["id"] for row in _where_in(connection, sa.select(table.c.id), table.c.id, ids)}


def _rows(connection: sa.Connection, table: sa.Table, ids: Iterable[str]) -> Rows:
    """Those rows of a table that exist, by id."""
    return {row["id"]: row for row in _where_in(connection, sa.select(table), table.c.id, ids)}


def items_of(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    found = _rows(connection, item, {key for row in rows for key in row["items"]})
    return {key: tables.item_of(row) for key, row in found.items()}


def _where_in(
    connection: sa.Connection, query: sa.Select[Any], column: sa.Column[Any], values: Iterable[str]
) -> Iterator[dict[str, Any]]:
    distinct = sorted(set(values))
    for at in range(0, len(distinct), CHUNK):
        for row in connection.execute(query.where(column.in_(distinct[at : at + CHUNK]))).mappings():
            yield dict(row)


def _insert(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    if rows:  # an empty list would insert one row of defaults
        connection.execute(table.insert(), rows)


def load_items(connection: sa.Connection, ids: Iterable[str]) -> dict[str, Item]:
    """Items by id."""
    return {key: tables.item_of(row) for key, row in _rows(connection, item, ids).items()}
