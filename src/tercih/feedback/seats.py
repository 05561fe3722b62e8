"""A rater's seat at a question: what a page shows, and why there may be none.

States of a question: "open" (seats are free), "full" (all are taken), "closed" (answered), "dissent" (raters disagree
to the end: the lead decides), "withdrawn"; and outside the common queue "gold", "tutorial", "exam", "repeat", and
"chat" for what a rater's own conversation asks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tercih.feedback.database import StoreError
from tercih.feedback.statements import ITEM
from tercih.feedback.tables import item_of
from tercih.records import Item

STATES = ("open", "full", "closed", "dissent", "withdrawn", "gold", "tutorial", "exam", "repeat", "chat")
ASIDE = STATES[5:]


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
