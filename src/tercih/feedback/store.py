"""Where questions wait and answers stay: one SQLite file, or any database that SQLAlchemy can reach by URL.

Judgements are only ever added. What one call writes is one transaction: a process killed at any moment leaves all of it
or none of it, and what a call has returned from is on disk. Simulated raters and people write to the same table.
"""

import time as clock
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, StatementError

from tercih.feedback import tables
from tercih.feedback.questions import Judgement, Question
from tercih.feedback.tables import item, judgement, question, rater, schema_version
from tercih.records import Answer, Comparison, Item

__all__ = ["Judgement", "Question", "Store", "StoreError"]

CHUNK = 500  # ids in one IN (…): any database takes as many

Rows = dict[str, dict[str, Any]]


class StoreError(RuntimeError):
    """The store cannot do what was asked; the message says why and what to do."""


class Store:
    """Items, questions, raters and their judgements in one database.

    `place` is the path of an SQLite file (made if it is missing) or a database URL. Raises `StoreError` when it cannot
    be opened or has another schema version. Usable as a context manager, and by several threads and processes.
    """

    def __init__(self, place: str | Path) -> None:
        self.place = str(place)
        try:
            self._engine = tables.engine(self.place if "://" in self.place else f"sqlite:///{self.place}")
        except (sa.exc.ArgumentError, ModuleNotFoundError) as error:
            raise StoreError(f"{self.place} is no usable database URL: {error}") from None
        try:
            self._open()
        except StoreError:
            self.close()
            raise

    def _open(self) -> None:
        with self._transaction(write=True) as connection:
            tables.metadata.create_all(connection)
            version = connection.scalar(sa.select(schema_version.c.version))
            if version is None:
                connection.execute(schema_version.insert().values(version=tables.VERSION))
            elif version != tables.VERSION:
                raise StoreError(
                    f"{self.place} has schema version {version} but this program knows {tables.VERSION}; "
                    "open it with the version of tercih that wrote it, or a newer one"
                )

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database; nothing is pending."""
        self._engine.dispose()

    def ask(self, questions: Sequence[Question]) -> list[str]:
        """Put questions and return their ids; to ask the same again is a no-op.

        Raises `StoreError` if a question of this run, step and index is about other items. Of two items that read the
        same the first one stored is kept, with its tokens and its origin.
        """
        items = {each.id: each for asked in questions for each in (asked.a, asked.b)}
        with self._transaction(write=True) as connection:
            stored = _rows(connection, item, items)
            _insert(connection, item, [tables.item_row(each) for key, each in items.items() if key not in stored])
            before = _rows(connection, question, [asked.id for asked in questions])
            new: Rows = {}
            for asked in questions:
                row = {"id": asked.id, **_plain(asked), "a": asked.a.id, "b": asked.b.id}
                old = before.get(asked.id) or new.setdefault(asked.id, row)
                if (old["a"], old["b"]) != (row["a"], row["b"]):
                    raise StoreError(
                        f"question {asked.index} of step {asked.step} in run {asked.run!r} was asked about other "
                        "items; give a new run another name, and resume an old one from what questions() returns"
                    )
            _insert(connection, question, list(new.values()))
        return [asked.id for asked in questions]

    def questions(self, run: str, step: int | None = None) -> list[Question]:
        """What a run has asked (at one step), by step and index."""
        with self._transaction() as connection:
            return self._questions(connection, _asked_by(run, step))

    def open_questions(self, run: str, votes: int) -> list[Question]:
        """The questions of a run that fewer than `votes` raters have judged, by step and index."""
        judged = sa.select(sa.func.count()).where(judgement.c.question == question.c.id).scalar_subquery()
        with self._transaction() as connection:
            return self._questions(connection, _asked_by(run).where(judged < votes))

    def judged_by(self, run: str) -> dict[str, set[str]]:
        """Of every question of a run, by id: who has judged it."""
        query = sa.select(question.c.id, judgement.c.rater).outerjoin(judgement).where(question.c.run == run)
        judged: dict[str, set[str]] = {}
        with self._transaction() as connection:
            for key, name in connection.execute(query):
                judged.setdefault(key, set()).update(() if name is None else (name,))
        return judged

    def enrol(self, name: str, kind: Literal["person", "simulated"] = "person") -> None:
        """Make a rater known by a pseudonym; again is a no-op. Names "simulated-…" are for simulated raters alone."""
        if not name or name.startswith("simulated-") != (kind == "simulated"):
            raise StoreError(f"a {kind} rater cannot be named {name!r}: 'simulated-…' names simulated raters, no other")
        with self._transaction(write=True) as connection:
            if not _rows(connection, rater, [name]):
                connection.execute(rater.insert().values(id=name, kind=kind))

    def judge(self, question_id: str, rater: str, answer: Answer, **rest: Any) -> None:
        """Record one judgement; `rest` are the further fields of `Judgement`. See `judge_all`."""
        self.judge_all([Judgement(question=question_id, rater=rater, answer=answer, **rest)])

    def judge_all(self, judgements: Sequence[Judgement]) -> int:
        """Record all of these or, if one cannot be, none; returns how many were new.

        The same answer again is a no-op, so that what was interrupted can be repeated; another answer by the same
        rater to the same question is a `StoreError`, as is an unknown question or rater.
        """
        with self._transaction(write=True) as connection:
            asked = _rows(connection, question, [each.question for each in judgements])
            raters = _rows(connection, rater, [each.rater for each in judgements])
            said = _said(connection, asked)
            new = []
            for each in judgements:
                if each.question not in asked:
                    raise StoreError(f"there is no question {each.question!r} in {self.place}; ask() it first")
                if each.rater not in raters:
                    raise StoreError(f"there is no rater {each.rater!r} in {self.place}; enrol() it first")
                before = said.get((each.question, each.rater))
                if before is None:
                    said[each.question, each.rater] = each.said
                    new.append(_plain(each) | {"time": clock.time() if each.time is None else each.time})
                elif before != each.said:
                    raise StoreError(
                        f"rater {each.rater!r} has answered question {each.question!r} with {before[0]!r} (shown left: "
                        f"{before[1]}), not {each.answer!r} ({each.left}); an answer once given is not changed"
                    )
            _insert(connection, judgement, new)
        return len(new)

    def comparisons(self, run: str | None = None, step: int | None = None) -> list[Comparison]:
        """Every judgement (of a run, of one of its steps), in the order in which they came."""
        query = sa.select(judgement, question.c.a, question.c.b, question.c.sampler, question.c.propensity)
        query = query.join(question).order_by(judgement.c.id)
        if run is not None:
            query = query.where(question.c.run == run)
        if step is not None:
            query = query.where(question.c.step == step)
        with self._transaction() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
            items = _items(connection, rows)
        names = ("answer", "rater", "left", "strength", "time", "seconds", "sampler", "propensity")
        return [Comparison(a=items[row["a"]], b=items[row["b"]], **{name: row[name] for name in names}) for row in rows]

    @staticmethod
    def _questions(connection: sa.Connection, query: sa.Select[Any]) -> list[Question]:
        rows = [dict(row) for row in connection.execute(query).mappings()]
        items = _items(connection, rows)
        return [
            Question(
                a=items[row["a"]],
                b=items[row["b"]],
                **{name: row[name] for name in ("run", "step", "index", "sampler", "propensity")},
            )
            for row in rows
        ]

    @contextmanager
    def _transaction(self, write: bool = False) -> Iterator[sa.Connection]:
        """A connection whose work is kept if the block ends well; the database's refusals become `StoreError`."""
        try:
            with self._engine.execution_options(write=write).begin() as connection:
                yield connection
        except DatabaseError as error:
            raise StoreError(f"{self.place}: {error.orig}{_mend(str(error.orig))}") from error
        except StatementError as error:  # what was to be stored is not JSON
            raise StoreError(f"{self.place} can store only JSON values in an item's columns: {error.orig}") from error


def _asked_by(run: str, step: int | None = None) -> sa.Select[Any]:
    query = sa.select(question).where(question.c.run == run).order_by(question.c.step, question.c.index)
    return query if step is None else query.where(question.c.step == step)


def _plain(value: Question | Judgement) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _rows(connection: sa.Connection, table: sa.Table, ids: Iterable[str]) -> Rows:
    """Those rows of a table that exist, by id."""
    return {row["id"]: row for row in _where_in(connection, sa.select(table), table.c.id, ids)}


def _items(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> dict[str, Item]:
    found = _rows(connection, item, {key for row in rows for key in (row["a"], row["b"])})
    return {key: tables.item_of(row) for key, row in found.items()}


def _said(connection: sa.Connection, asked: Iterable[str]) -> dict[tuple[str, str], tuple[str, str | None, float]]:
    rows = _where_in(connection, sa.select(judgement), judgement.c.question, asked)
    return {(row["question"], row["rater"]): (row["answer"], row["left"], row["strength"]) for row in rows}


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


def _mend(reason: str) -> str:
    """What to do about a database's refusal, where it is one that users meet."""
    known = {
        "locked": "another program is holding it; close that program, or wait and try again",
        "readonly": "make the file and its folder writable, or work on a copy",
        "unable to open": "make the folder that is to hold it, and see that it is writable",
        "not a database": "give the path of a store, or of a new file",
        "malformed": "the file is damaged; restore it from a copy",
        "full": "make room on the disk; nothing of this call was kept",
    }
    return next((f"; {mend}" for sign, mend in known.items() if sign in reason), "")
