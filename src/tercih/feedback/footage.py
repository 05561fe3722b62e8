"""Videos of clips that are drawn only when somebody is going to look: asked of `tercih worker`, through its jobs."""

from collections.abc import Iterable
from pathlib import Path

import sqlalchemy as sa

from tercih.feedback import jobs
from tercih.feedback.database import Database
from tercih.feedback.store import load_items
from tercih.feedback.tables import question
from tercih.records import Clip, Item, content_hash

AHEAD = 2  # clips that a worker draws before it looks whether somebody waits for another one
CHUNK = 100  # questions


def video(folder: Path, clip: Clip) -> Path | None:
    """A clip's video, if it is there, within the folder of clips."""
    file = (folder / clip.media).resolve()
    return file if file.is_relative_to(folder.resolve()) and file.is_file() else None


def ask(database: Database, clip: Clip) -> bool:
    """Have a clip drawn that has no video. Whether it will be: not where it has no steps, or drawing it has failed."""
    if not clip.steps:
        return False
    payload = {"steps": clip.steps, "media": clip.media, "digest": clip.digest}
    key = jobs.put(database, "clip", payload, content_hash(["clip", *payload.values()]))
    state = jobs.result(database, key).state
    if state == "done":  # and the video was deleted since
        jobs.repeat(database, key)
    return state != "failed"


def ask_missing(database: Database, folder: Path, items: Iterable[Item]) -> frozenset[int]:
    """The places of the clips among `items` whose videos are still being drawn."""
    return frozenset(
        place
        for place, item in enumerate(items)
        if isinstance(item, Clip) and video(folder, item) is None and ask(database, item)
    )


def ask_ahead(database: Database, folder: Path) -> int:
    """Have up to AHEAD clips drawn of the questions that are open, the next turn's first; how many were asked for."""
    query = (
        sa.select(question.c["items"].label("items_"))
        .where(question.c.state == "open", question.c.repeats.is_(None))
        .order_by(question.c.turn, question.c.shuffle)
        .limit(CHUNK)
    )
    at, asked = 0, 0
    while True:
        with database.transaction() as connection:
            rows = connection.execute(query.offset(at)).all()
            items = load_items(connection, {key for row in rows for key in row.items_})
        for row in rows:
            asked += len(ask_missing(database, folder, (items[key] for key in row.items_)))
            if asked >= AHEAD:
                return asked
        if len(rows) < CHUNK:
            return asked
        at += CHUNK
