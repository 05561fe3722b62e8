"""Finding questions and answers: by project, kind, state, run, rater, day, and by words in what was read or written."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from tercih.feedback.store import load_items
from tercih.feedback.tables import assignment, item, question

ESCAPE = "\\"
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
DAY_SECONDS = 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Filters:
    """Empty fields do not filter; `state` is the question's. `words` is found in items and answers, as it stands there;
    letters of the English alphabet match in either case."""

    id: str = ""
    kind: str = ""
    state: str = ""
    run: str = ""
    step: int | None = None
    rater: str = ""
    words: str = ""
    since: str = ""
    """The first day (2026-11-05, UTC) of answers, or of answers to a question."""
    until: str = ""
    """The last day, which is included."""


def find_questions(
    connection: sa.Connection, project: str, filters: Filters, after: str = "", limit: int = 100
) -> list[dict[str, Any]]:
    """Rows of questions by id, above `after`, each with its items under "shown"."""
    query = _filtered(sa.select(question).where(question.c.project == project, question.c.id > after), filters)
    if filters.rater:
        sits = sa.exists().where(assignment.c.question == question.c.id, assignment.c.rater == filters.rater)
        query = query.where(sits)
    if filters.since or filters.until:
        said = sa.exists().where(assignment.c.question == question.c.id, assignment.c.state == "done")
        query = query.where(said.where(*on_days(filters.since, filters.until)))
    if filters.words:
        query = query.where(_read(connection, filters.words))
    rows = [dict(row) for row in connection.execute(query.order_by(question.c.id).limit(limit)).mappings()]
    items = load_items(connection, {key for row in rows for key in row["items"]})
    return [row | {"shown": [items[key] for key in row["items"]]} for row in rows]


def find_answers(
    connection: sa.Connection, project: str, filters: Filters, after: int = 0, limit: int = 100
) -> list[dict[str, Any]]:
    """Answers that stand, by their seats' ids, above `after`."""
    names: Sequence[sa.Column[Any]] = [
        assignment.c[name] for name in ("id", "question", "rater", "answer", "version", "shown", "time", "seconds")
    ]
    query: sa.Select[Any] = (
        sa.select(*names, question.c.kind, question.c.run, question.c.step)
        .join(question, question.c.id == assignment.c.question)
        .where(assignment.c.project == project, assignment.c.state == "done", assignment.c.id > after)
    )
    query = _of_seats(connection, query, filters)
    return [dict(row) for row in connection.execute(query.order_by(assignment.c.id).limit(limit)).mappings()]


def latest(
    connection: sa.Connection, project: str, filters: Filters, seat: str = "", skip: int = 0, limit: int = 100
) -> list[dict[str, Any]]:
    """Seats that were left, in this state (empty: in any), the latest first: what was said or not, by whom, with their
    questions (`question_id`, `question_kind`, `question_state`) and items."""
    query = (
        sa.select(
            *(assignment.c[name] for name in ("id", "rater", "state", "answer", "time", "seconds", "version")),
            *(question.c[name].label(f"question_{name}") for name in ("id", "kind", "state", "items")),
        )
        .join(question, question.c.id == assignment.c.question)
        .where(assignment.c.project == project)
        .where(assignment.c.state == seat if seat else assignment.c.state != "leased")
        .order_by(assignment.c.time.desc(), assignment.c.id.desc())
    )
    query = _of_seats(connection, query, filters).limit(limit).offset(skip)
    rows = [dict(row) for row in connection.execute(query).mappings()]
    items = load_items(connection, {key for row in rows for key in row["question_items"]})
    return [row | {"items": [items[key] for key in row["question_items"]]} for row in rows]


def _of_seats(connection: sa.Connection, query: sa.Select[Any], filters: Filters) -> sa.Select[Any]:
    """Seats joined with their questions: by who sits there, and by words that were said or read."""
    query = _filtered(query, filters)
    if filters.rater:
        query = query.where(assignment.c.rater == filters.rater)
    query = query.where(*on_days(filters.since, filters.until))
    if filters.words:
        query = query.where(_like(assignment.c.answer, filters.words) | _read(connection, filters.words))
    return query


def day(text: str) -> float:
    """The second at which a day begins in UTC. Raises ValueError."""
    if not DAY.fullmatch(text):
        raise ValueError(f"a day is written 2026-11-05, got {text!r}")
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise ValueError(f"there is no day {text}") from None


def on_days(since: str, until: str) -> list[sa.ColumnElement[bool]]:
    """Conditions on when a seat was left; empty days are no bounds. Raises ValueError."""
    found = [assignment.c.time >= day(since)] if since else []
    return [*found, assignment.c.time < day(until) + DAY_SECONDS] if until else found


def _filtered(query: sa.Select[Any], filters: Filters) -> sa.Select[Any]:
    for name in ("id", "kind", "state", "run"):
        if value := getattr(filters, name):
            query = query.where(question.c[name] == value)
    return query if filters.step is None else query.where(question.c.step == filters.step)


def _read(connection: sa.Connection, words: str) -> sa.ColumnElement[bool]:
    """Whether one of a question's items says these words."""
    unpack = sa.func.json_each if connection.dialect.name == "sqlite" else sa.func.json_array_elements_text
    each = unpack(question.c["items"]).table_valued("value").alias("unpacked")
    return sa.exists(
        sa.select(item.c.id).select_from(each).join(item, item.c.id == each.c.value).where(_like(item.c.content, words))
    )


def _like(column: sa.Column[Any], words: str) -> sa.ColumnElement[bool]:
    """JSON is stored with all but English letters escaped, so the words are too."""
    written = json.dumps(words)[1:-1]
    for sign in (ESCAPE, "%", "_"):
        written = written.replace(sign, ESCAPE + sign)
    return sa.cast(column, sa.Text).ilike(f"%{written}%", escape=ESCAPE)
