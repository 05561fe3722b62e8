"""What was worked out of a project's answers: rows of the `fit` table, each with the last event it has seen."""

import math
import time as clock
from typing import Any

import sqlalchemy as sa

from tercih.feedback.database import Database
from tercih.feedback.tables import event
from tercih.feedback.tables import fit as fits

CHANGES = ("answer", "edit", "undo", "adjudicate", "exam_again", "project")
"""The kinds of events that change what there is to work out."""


def last_change(database: Database, name: str) -> int:
    """The newest event of a project that changes what its answers say; 0 where there is none."""
    newest = sa.select(event.c.id).where(event.c.project == name, event.c.kind.in_(CHANGES))
    with database.transaction() as connection:
        return connection.scalar(newest.order_by(event.c.id.desc()).limit(1)) or 0


def read_fit(database: Database, name: str, kind: str) -> dict[str, Any] | None:
    """The row of this kind, or None."""
    with database.transaction() as connection:
        row = connection.execute(sa.select(fits).where(fits.c.project == name, fits.c.kind == kind)).mappings().first()
    return None if row is None else dict(row)


def write_fit(database: Database, name: str, kind: str, events: int, result: Any) -> None:
    """Put the row of this kind in the place of an older one; one that has seen more events stays."""
    here = (fits.c.project == name) & (fits.c.kind == kind)
    row = {"project": name, "kind": kind, "events": events, "time": clock.time(), "result": plain(result)}
    with database.transaction(write=True) as connection:
        before = connection.scalar(sa.select(fits.c.events).where(here).with_for_update())
        if before is None:
            connection.execute(fits.insert().values(row))
        elif before <= events:
            connection.execute(sa.update(fits).where(here).values(row))


def plain(value: Any) -> Any:
    """JSON knows no NaN, and PostgreSQL refuses it: None."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
