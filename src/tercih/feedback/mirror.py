"""What people said on a labelling server, copied into a run's own store: the store a run learns from is its own."""

import time as clock
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from tercih.feedback.database import Database
from tercih.feedback.tables import assignment, fit, question, rater

RECEIVED = "received"  # in `fit`: how far a server's log has been read


def receive(database: Database, run: str, events: Sequence[Mapping[str, Any]]) -> int:
    """Copy events of a server's log; returns how many answers to the run's questions stand now.

    `events` are in the log's order, with `id`, `kind`, `rater`, `time` and `payload`; those up to the last one received
    are passed over, so that nothing counts twice whoever was killed.
    """
    with database.transaction(write=True) as connection:
        asked = connection.execute(sa.select(question).where(question.c.run == run)).mappings()
        known = {row["id"]: dict(row) for row in asked}
        since = _received(connection, run)
        for each in events:
            key = each["payload"].get("question")
            if each["id"] > since and key in known:
                _mirror(connection, each, known[key])
        if events:
            newest = max(since, *(int(each["id"]) for each in events))
            values = {"events": newest, "time": clock.time(), "result": {}}
            here = (fit.c.project == run) & (fit.c.kind == RECEIVED)
            if since:
                connection.execute(sa.update(fit).where(here).values(values))
            else:
                connection.execute(fit.insert().values(values | {"project": run, "kind": RECEIVED}))
        standing = (assignment.c.project == run) & (assignment.c.state == "done")
        return int(connection.scalar(sa.select(sa.func.count()).where(standing)) or 0)


def received(database: Database, run: str) -> int:
    """The id of the last event received for a run; 0 where there was none."""
    with database.transaction() as connection:
        return _received(connection, run)


def _received(connection: sa.Connection, run: str) -> int:
    query = sa.select(fit.c.events).where(fit.c.project == run, fit.c.kind == RECEIVED)
    return int(connection.scalar(query) or 0)


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
    if not connection.scalar(sa.select(rater.c.id).where(rater.c.id == said["rater"])):
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
