"""What a lead or a program does with questions that are asked already."""

import time as clock
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from tercih.feedback import kinds
from tercih.feedback.database import Database
from tercih.feedback.seats import QueueError, Unknown
from tercih.feedback.statements import LOG
from tercih.feedback.store import load_items
from tercih.feedback.tables import question


def withdraw(database: Database, project: str, key: str, by: str) -> None:
    """Ask a question no more; what was answered stays, in the log and the store. Again is a no-op. Raises Unknown."""
    with database.transaction(write=True) as connection:
        row = _row(connection, project, key)
        if row["state"] != "withdrawn":
            connection.execute(sa.update(question).where(question.c.id == key).values(state="withdrawn"))
            payload = {"question": key, "before": row["state"]}
            _log(connection, "withdraw", project, by, payload)


def suggest(database: Database, project: str, key: str, answer: Mapping[str, Any], source: str, by: str) -> None:
    """Keep what a model would answer; the project's share of raters sees it, and the seat says who did.

    Raises Unknown, AnswerError, or QueueError where somebody has seen the question: then it is too late, for nobody
    could tell what they saw.
    """
    with database.transaction(write=True) as connection:
        row = _row(connection, project, key)
        items = load_items(connection, row["items"])
        checked = kinds.check(row["kind"], answer, [items[each] for each in row["items"]], row["spec"])
        suggestion = {"answer": checked, "source": source}
        if row["spec"].get("suggestion") == suggestion:
            return
        if row["taken"]:
            raise QueueError("raters have seen this question already; suggest before it is asked")
        spec = row["spec"] | {"suggestion": suggestion}
        connection.execute(sa.update(question).where(question.c.id == key).values(spec=spec))
        _log(connection, "suggest", project, by, {"question": key, **suggestion})


def _row(connection: sa.Connection, project: str, key: str) -> dict[str, Any]:
    query = sa.select(question).where(question.c.id == key, question.c.project == project).with_for_update()
    row = connection.execute(query).mappings().first()
    if row is None:
        raise Unknown(f"there is no question {key!r} in project {project!r}")
    return dict(row)


def _log(connection: sa.Connection, kind: str, project: str, by: str, payload: Mapping[str, Any]) -> None:
    values = {
        "key": None, "time": clock.time(), "kind": kind, "rater": by, "project": project, "assignment": None,
        "payload": payload,
    }  # fmt: skip
    LOG.run(connection, values)
