"""An agent acts before a rater, who says good or bad as it does: TAMER's and COACH's feedback, as it is given.

The server asks for an act with a job; a worker takes it up, shows frame after frame, and reads what the rater says
while it acts. The two meet in three tables: `act` says how far it is, `frame` holds the newest picture, `signal` every
press, which is on disk when it is acknowledged and never changed. When the act is over its signals become one answer to
a question of the kind "live", with the step and the moment of each.

A rater who looks away for LEFT seconds ends the act; a worker that shows nothing for SILENT seconds has died.
"""

import secrets
import time as clock
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from tercih.feedback import tables
from tercih.feedback.database import Database
from tercih.feedback.kinds import AnswerError, check
from tercih.feedback.projects import Project
from tercih.feedback.questions import Question
from tercih.feedback.seats import Gone, NotYours, QueueError, Unknown
from tercih.feedback.store import load_items, question_row
from tercih.feedback.tables import act, assignment, event, frame, item, job, question, signal
from tercih.records import Clip

LEFT = 10.0
SILENT = 10.0
LATE = 60.0  # seconds after the end in which what was pressed before it is still taken
LOOKS = 1.0  # seconds between two looks that are written down


@dataclass(frozen=True, kw_only=True, slots=True)
class Act:
    """One act. `step` and `seconds` are of the newest frame; `waits` is how long no worker has taken it up."""

    id: int
    key: str
    project: str
    state: str
    step: int
    seconds: float
    waits: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """What the agent's world looks like after so many steps, so many seconds after the first frame."""

    step: int
    seconds: float
    jpeg: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Signal:
    """+1 or -1, or 0 for one that takes back the signal of the id `takes_back`, or that has an `action`: the number of
    what is done in the agent's place from then on, or -1 where the rater lets it act again.

    `step` was on the screen when the key was pressed, `seconds` after the first frame; `received` is the server's time.
    """

    id: int
    value: int
    takes_back: int | None
    step: int
    seconds: float
    received: float
    action: int | None = None


# What a rater does


def start(database: Database, project: Project, rater: str) -> int:
    """Ask a worker for an act, or return the one that this rater is at."""
    if not project.environment:
        raise Unknown(f"nothing acts in project {project.id}")
    now, key = clock.time(), uuid.uuid4().hex
    payload = {
        "environment": project.environment, "seed": secrets.randbelow(2**31), "steps": project.act_steps,
        "frames_per_second": project.act_rate, "actions": len(project.action_names),
    }  # fmt: skip
    with database.transaction(write=True) as connection:
        if (before := _newest(connection, project.id, rater)) and before["state"] in ("waiting", "acting"):
            return int(before["id"])
        asked = job.insert().values(
            key=f"act-{key}", kind="act", project=project.id, payload=payload, state="waiting", tries=0, created=now
        )
        number = connection.execute(asked).inserted_primary_key
        assert number is not None
        row = {
            "key": key, "project": project.id, "rater": rater, "job": number[0], "state": "waiting", "step": 0,
            "seconds": 0.0, "created": now, "looked": now,
        }  # fmt: skip
        made = connection.execute(act.insert().values(row)).inserted_primary_key
        assert made is not None
        connection.execute(sa.update(job).where(job.c.id == number[0]).values(payload=payload | {"act": made[0]}))
        return int(made[0])


def current(database: Database, project: str, rater: str) -> Act | None:
    """The newest act before this rater, whatever became of it."""
    with database.transaction() as connection:
        row = _newest(connection, project, rater)
    return look(database, row["id"], rater) if row else None


def look(database: Database, key: int, rater: str) -> Act:
    """How it stands; that the rater looked is written down. Raises Unknown or NotYours."""
    now = clock.time()
    with database.transaction() as connection:
        row = _own(connection, key, rater)
    if row["state"] in ("waiting", "acting") and now - row["looked"] > LOOKS:
        with database.transaction(write=True) as connection:
            connection.execute(sa.update(act).where(act.c.id == key).values(looked=now))
    if _silent(row, now):
        sweep(database)
        with database.transaction() as connection:
            row = _own(connection, key, rater)
    names = ("id", "key", "project", "state", "step", "seconds")
    return Act(waits=now - row["created"] if row["state"] == "waiting" else 0.0, **{name: row[name] for name in names})


def newest_frame(database: Database, key: int, after: int = -1) -> Frame | None:
    """The newest picture, if it is of a step behind `after`."""
    query = sa.select(frame.c.step, frame.c.seconds, frame.c.jpeg).where(frame.c.act == key, frame.c.step > after)
    with database.transaction() as connection:
        row = connection.execute(query).mappings().first()
    return None if row is None else Frame(**row)


def press(
    database: Database, key: int, rater: str, *, value: int, step: int, seconds: float, mark: str,
    action: int | None = None,
) -> None:  # fmt: skip
    """Record a signal, or with 0 take back the last one that stands, or with 0 and an `action` act in the agent's
    place (-1: no longer); the same `mark` again changes nothing.

    Raises AnswerError for one that cannot be, Gone for one that comes too late.
    """
    now = clock.time()
    try:
        with database.transaction(write=True) as connection:
            row = _own(connection, key, rater, lock=True)  # who presses and who settles come one after the other
            if connection.scalar(sa.select(signal.c.id).where(signal.c.key == mark, signal.c.act == key)):
                return
            if row["ended"] is not None and now - row["ended"] > LATE:
                raise Gone("this act was over some time ago")
            if value not in (-1, 0, 1) or not 0 <= step <= row["step"] or not 0 <= seconds < float("inf"):
                raise AnswerError(f"a signal is +1 or -1 at a step that was shown, got {value} at {step}", "signals")
            if row["beat"] is None:
                raise QueueError("nothing has been shown yet")
            if action is not None:
                offered = connection.scalars(sa.select(job.c.payload).where(job.c.id == row["job"])).one()["actions"]
                if value or not -1 <= action < offered:
                    raise AnswerError(
                        f"there are {offered} actions to do in the agent's place, got {action}", "signals"
                    )
            latest = row["seconds"] if row["ended"] is not None else now - row["created"]
            new = {
                "key": mark, "act": key, "value": value, "takes_back": None, "step": step,
                "seconds": round(min(seconds, latest + 1), 3), "received": now, "action": action,
            }  # fmt: skip
            if value == 0 and action is None:
                stands = standing(_signals(connection, key))
                if not stands:
                    return
                new["takes_back"] = stands[-1].id
            connection.execute(signal.insert().values(new))
            if row["question"] is not None and action is None:
                _answer_again(connection, row)
    except IntegrityError:  # the same press twice in one moment, or of somebody else's act
        with database.transaction() as connection:
            if connection.scalar(sa.select(signal.c.act).where(signal.c.key == mark)) != key:
                raise NotYours("this key belongs to somebody else's signal") from None


def end(database: Database, key: int, rater: str) -> None:
    """The rater has seen enough. Again is a no-op."""
    with database.transaction(write=True) as connection:
        _own(connection, key, rater)
        _close(connection, key, "over")


# What the worker does


def key_of(database: Database, key: int) -> str:
    """What names an act's question and its files."""
    with database.transaction() as connection:
        return str(connection.scalars(sa.select(act.c.key).where(act.c.id == key)).one())


def begin(database: Database, key: int) -> bool:
    """Take an act up; False where it was taken up already, or nobody wants it any more."""
    now = clock.time()
    here = sa.update(act).where(act.c.id == key, act.c.state == "waiting", act.c.looked > now - LEFT)
    with database.transaction(write=True) as connection:
        if connection.execute(here.values(state="acting", beat=now)).rowcount:
            return True
        left = (act.c.id == key) & (act.c.state == "waiting")
        connection.execute(sa.update(act).where(left).values(state="over", ended=now))
    return False


def show(database: Database, key: int, shown: Frame) -> bool:
    """Put this frame in the place of the one before; False when the act is to end: the rater ended it, or left."""
    now = clock.time()
    here = (act.c.id == key) & (act.c.state == "acting")
    row = {"step": shown.step, "seconds": shown.seconds, "jpeg": shown.jpeg}
    with database.transaction(write=True) as connection:
        looked = connection.scalar(sa.select(act.c.looked).where(here))
        if looked is None:
            return False
        connection.execute(sa.update(act).where(here).values(step=shown.step, seconds=shown.seconds, beat=now))
        if not connection.execute(sa.update(frame).where(frame.c.act == key).values(row)).rowcount:
            connection.execute(frame.insert().values(row | {"act": key}))
    return bool(now - looked <= LEFT)


def signals_since(database: Database, key: int, after: int = 0) -> list[Signal]:
    """What the rater has said behind the signal of this id, in order; an agent may learn from it while it acts."""
    with database.transaction() as connection:
        return _signals(connection, key, after)


def standing(signals: Sequence[Signal]) -> list[Signal]:
    """Those that were not taken back."""
    back = {each.takes_back for each in signals}
    return [each for each in signals if each.value and each.id not in back]


def finish(database: Database, key: int, clip: Clip | None = None, *, stopped: bool = False) -> None:
    """The act is over, or `stopped` by something that went wrong; what was said becomes an answer about `clip`."""
    with database.transaction(write=True) as connection:
        connection.execute(sa.select(act.c.id).where(act.c.id == key).with_for_update())
        _close(connection, key, "stopped" if stopped else "over")
        row = dict(connection.execute(_all().where(act.c.id == key)).mappings().one())
        _settle(connection, row, clip)


def sweep(database: Database) -> int:
    """Say of acts whose worker died that they stopped, and keep what was said; how many there were."""
    now = clock.time()
    with database.transaction() as connection:
        rows = connection.execute(_all().where(act.c.question.is_(None), act.c.beat < now - SILENT)).mappings().all()
    found = [row["id"] for row in rows if _silent(dict(row), now)]
    for key in found:
        finish(database, key, stopped=True)
    return len(found)


# Rows


def _all() -> sa.Select[Any]:
    return sa.select(act, job.c.payload).join(job, job.c.id == act.c.job)


def _newest(connection: sa.Connection, project: str, rater: str) -> dict[str, Any] | None:
    mine = sa.select(act).where(act.c.project == project, act.c.rater == rater).order_by(act.c.id.desc()).limit(1)
    row = connection.execute(mine).mappings().first()
    return None if row is None else dict(row)


def _own(connection: sa.Connection, key: int, rater: str, *, lock: bool = False) -> dict[str, Any]:
    query = sa.select(act).where(act.c.id == key)
    row = connection.execute(query.with_for_update() if lock else query).mappings().first()
    if row is None:
        raise Unknown("there is no such act")
    if row["rater"] != rater:
        raise NotYours("this act is before somebody else")
    return dict(row)


def _silent(row: Mapping[str, Any], now: float) -> bool:
    """Whether its worker died: it has shown nothing, and what was said has become no answer."""
    unsettled = row["state"] == "acting" or (row["state"] == "over" and row["step"] > 0)
    return unsettled and row["question"] is None and row["beat"] is not None and now - row["beat"] > SILENT


def _close(connection: sa.Connection, key: int, state: str) -> None:
    here = (act.c.id == key) & act.c.state.in_(("waiting", "acting"))
    connection.execute(sa.update(act).where(here).values(state=state, ended=clock.time()))


def _signals(connection: sa.Connection, key: int, after: int = 0) -> list[Signal]:
    names = ("id", "value", "takes_back", "step", "seconds", "received", "action")
    query = (
        sa.select(*(signal.c[name] for name in names))
        .where(signal.c.act == key, signal.c.id > after)
        .order_by(signal.c.id)
    )
    return [Signal(**row) for row in connection.execute(query).mappings()]


def _said(connection: sa.Connection, key: int) -> dict[str, Any]:
    stand = standing(_signals(connection, key))
    return {"signals": [[each.seconds, each.value] for each in stand], "steps": [each.step for each in stand]}


def _settle(connection: sa.Connection, row: Mapping[str, Any], clip: Clip | None) -> None:
    """A question that is asked and answered at once. An act that nobody saw a step of leaves none."""
    if row["question"] is not None or row["step"] == 0:
        return
    payload = row["payload"]
    said = _said(connection, row["id"])
    about = {name: payload[name] for name in ("environment", "seed")}
    latest = max([row["seconds"], *(at for at, _ in said["signals"])])
    shown = clip or Clip(
        media="", digest=f"act-{row['key']}", seconds=latest, steps=files_of(row["key"])[0], columns=about
    )
    asked = Question(
        items=(shown,), run=f"act {row['key']}", step=0, index=0, kind="live", project=row["project"], votes=1,
        sampler="act",
    )  # fmt: skip
    if connection.scalar(sa.select(item.c.id).where(item.c.id == shown.id)) is None:
        connection.execute(item.insert().values(tables.item_row(shown)))
    counted = {"state": "closed", "taken": 1, "done": 1}
    connection.execute(question.insert().values(question_row(asked) | counted))
    answer = check("live", said, (shown,), {})
    seat = {
        "question": asked.id, "rater": row["rater"], "project": row["project"], "state": "done",
        "claimed": row["created"], "expires": row["ended"], "shown": {"order": [0], "act": row["key"]},
        "answer": answer, "version": 1, "time": row["ended"], "seconds": round(row["seconds"], 3),
    }  # fmt: skip
    connection.execute(assignment.insert().values(seat))
    connection.execute(sa.update(act).where(act.c.id == row["id"]).values(question=asked.id))
    connection.execute(sa.delete(frame).where(frame.c.act == row["id"]))
    told = {name: seat[name] for name in ("question", "answer", "shown", "seconds")}
    _log(connection, row, "answer", row["ended"], told)


def _answer_again(connection: sa.Connection, row: Mapping[str, Any]) -> None:
    """A press that came late: the answer as it stands now."""
    here = (assignment.c.question == row["question"]) & (assignment.c.rater == row["rater"])
    before, version = connection.execute(sa.select(assignment.c.answer, assignment.c.version).where(here)).one()
    ids = connection.scalars(sa.select(question.c["items"]).where(question.c.id == row["question"])).one()
    items = load_items(connection, ids)
    answer = check("live", _said(connection, row["id"]), [items[key] for key in ids], {})
    connection.execute(sa.update(assignment).where(here).values(answer=answer, version=version + 1))
    told = {"question": row["question"], "answer": answer, "before": before, "version": version + 1}
    _log(connection, row, "edit", clock.time(), told)


def _log(connection: sa.Connection, row: Mapping[str, Any], kind: str, time: float, payload: Mapping[str, Any]) -> None:
    where = {"rater": row["rater"], "project": row["project"]}
    connection.execute(event.insert().values(where | {"time": time, "kind": kind, "payload": dict(payload)}))


def files_of(key: str) -> tuple[str, str]:
    """Where the worker keeps an act's steps and its video, within the folder of clips."""
    return f"acts/{key}.npz", f"acts/{key}.mp4"


def overrides_of(key: str) -> str:
    """Where the worker keeps what was wanted and what was done, where a rater did other things."""
    return f"acts/{key}.overrides.npz"
