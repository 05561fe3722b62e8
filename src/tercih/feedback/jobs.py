"""What the server leaves to `tercih worker`: a queue of jobs in the database, safe against workers that die.

A worker takes a job on lease. A lease that runs out puts the job back, so that a killed worker's job is taken again; at
most MOST_TRIES times, then it has failed and says why. What comes from a worker whose lease ran out is not accepted:
`tries` tells one lease from the next.
"""

import time as clock
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tercih.feedback.database import Database, StoreError
from tercih.feedback.tables import job

MOST_TRIES = 3
LEASE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A job that this worker holds; `tries` counts the leases so far, this one included."""

    id: int
    kind: str
    project: str | None
    payload: Mapping[str, Any]
    tries: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of a job: its state ("waiting", "running", "done", "failed"), result and the last error's text."""

    state: str
    result: Any
    error: str


def put(
    database: Database, kind: str, payload: Mapping[str, Any], key: str | None = None, *, project: str | None = None
) -> int:
    """Ask for a job and return its id; the same `key` again is the same job, whatever became of it."""
    same = sa.select(job.c.id).where(job.c.key == key)
    try:
        with database.transaction(write=True) as connection:
            if key is not None and (before := connection.scalar(same)):
                return int(before)
            return insert(connection, kind, payload, key, project=project)
    except sa.exc.IntegrityError:  # another server put it in the same moment
        with database.transaction() as connection:
            return int(connection.scalars(same).one())


def insert(
    connection: sa.Connection,
    kind: str,
    payload: Mapping[str, Any],
    key: str | None = None,
    *,
    project: str | None = None,
) -> int:
    """A new job within a transaction of the caller's; its id."""
    row = {
        "key": key, "kind": kind, "project": project, "payload": dict(payload), "state": "waiting", "tries": 0,
        "created": clock.time(),
    }  # fmt: skip
    made = connection.execute(job.insert().values(row)).inserted_primary_key
    assert made is not None
    return int(made[0])


def take(database: Database, kinds: Sequence[str], lease_seconds: float = LEASE_SECONDS) -> Job | None:
    """The oldest job of these kinds that waits or whose lease ran out, for `lease_seconds`; or None.

    Whoever takes it has it alone: SQLite's writers queue, PostgreSQL skips rows that others are taking.
    """
    if not lease_seconds > 0:
        raise ValueError(f"lease_seconds must be > 0, got {lease_seconds}")
    now = clock.time()
    free = free_job(kinds, now)
    with database.transaction(write=True) as connection:
        while (row := connection.execute(free).mappings().first()) is not None:
            here = sa.update(job).where(job.c.id == row["id"])
            if row["tries"] < MOST_TRIES:
                values = {"state": "running", "tries": row["tries"] + 1, "expires": now + lease_seconds}
                connection.execute(here.values(values))
                return Job(
                    id=row["id"], kind=row["kind"], project=row["project"], payload=row["payload"],
                    tries=row["tries"] + 1,
                )  # fmt: skip
            died = f"the worker was lost {row['tries']} times in the midst of it"
            connection.execute(here.values(state="failed", result={"error": died}, expires=None))
    return None


def free_job(kinds: Sequence[str], now: float) -> sa.Select[Any]:
    """The statement that finds it."""
    left = (job.c.state == "running") & (job.c.expires < now)
    return (
        sa.select(job)
        .where(job.c.kind.in_(list(kinds)), (job.c.state == "waiting") | left)
        .order_by(job.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )


def extend(database: Database, held: Job, lease_seconds: float = LEASE_SECONDS) -> bool:
    """Hold it longer; False where the lease ran out and others have the job."""
    return _settle(database, held, {"expires": clock.time() + lease_seconds})


def finish(database: Database, held: Job, result: Any) -> bool:
    """The job is done, with a result in JSON; False (and nothing changes) where the lease was lost meanwhile."""
    return _settle(database, held, {"state": "done", "result": {"value": result}, "expires": None})


def fail(database: Database, held: Job, error: str, *, again: bool = True) -> bool:
    """It went wrong: others may try `again` while tries are left, else it failed; False where the lease was lost."""
    state = "waiting" if again and held.tries < MOST_TRIES else "failed"
    return _settle(database, held, {"state": state, "result": {"error": error}, "expires": None})


def result(database: Database, key: int) -> Outcome:
    """What became of the job of this id. Raises StoreError where there is none."""
    with database.transaction() as connection:
        row = connection.execute(sa.select(job.c.state, job.c.result).where(job.c.id == key)).mappings().first()
    if row is None:
        raise StoreError(f"there is no job {key}")
    said = row["result"] or {}
    return Outcome(state=row["state"], result=said.get("value"), error=said.get("error", ""))


def repeat(database: Database, key: int) -> None:
    """A job that was done is to be done again; any other one stays as it is."""
    here = (job.c.id == key) & (job.c.state == "done")
    with database.transaction(write=True) as connection:
        connection.execute(sa.update(job).where(here).values(state="waiting", tries=0, result=None))


def _settle(database: Database, held: Job, values: Mapping[str, Any]) -> bool:
    mine = (job.c.id == held.id) & (job.c.state == "running") & (job.c.tries == held.tries)
    with database.transaction(write=True) as connection:
        return bool(connection.execute(sa.update(job).where(mine).values(**values)).rowcount)
