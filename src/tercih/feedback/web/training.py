"""A rater in a project: what they have read, how far they are, and the notes they wrote before the answers."""

import time as clock
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tercih.feedback.database import Database
from tercih.feedback.overlap import is_right
from tercih.feedback.projects import Project, ProjectError
from tercih.feedback.seats import Seat
from tercih.feedback.tables import assignment, event, guideline, member, question
from tercih.feedback.tables import project as projects


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """`guided`: there are guidelines; `unread`: newer ones than they read; `trained`: there is a tutorial or exam."""

    stage: str
    guided: bool
    unread: bool
    trained: bool
    answered: int


def projects_of(database: Database, who: str) -> list[dict[str, Any]]:
    """Every project people can be asked in, with how much this rater has answered."""
    said = sa.func.count(assignment.c.id).label("answered")
    mine = (assignment.c.project == projects.c.id) & (assignment.c.rater == who) & (assignment.c.state == "done")
    query = sa.select(projects.c.id, projects.c.config, said).outerjoin(assignment, mine)
    query = query.group_by(projects.c.id).order_by(projects.c.created)
    with database.transaction() as connection:
        rows = connection.execute(query.with_only_columns(projects.c.id, said)).all()
        configs = {row.id: row.config for row in connection.execute(sa.select(projects.c.id, projects.c.config))}
    found = []
    for name, answered in rows:
        try:
            settings = Project.of(name, configs[name])
        except ProjectError:  # a run's own, which nobody described for people
            continue
        found.append({"settings": settings, "answered": answered})
    return found


def entered(database: Database, name: str, who: str) -> Member:
    """This rater in this project; they become a member by coming."""
    here = (member.c.project == name) & (member.c.rater == who)
    read = sa.select(member.c.stage, member.c.guideline).where(here)
    with database.transaction() as connection:
        row = connection.execute(read).first()
    if row is None:
        new = {"project": name, "rater": who, "stage": "tutorial", "tries": 0, "guideline": 0}
        try:
            with database.transaction(write=True) as connection:
                connection.execute(member.insert().values(new))
        except sa.exc.IntegrityError:
            pass  # another window of theirs was faster
    newest = sa.select(sa.func.max(guideline.c.version)).where(guideline.c.project == name)
    trains = sa.select(question.c.id).where(question.c.project == name, question.c.state.in_(("tutorial", "exam")))
    mine = (assignment.c.project == name) & (assignment.c.rater == who) & (assignment.c.state == "done")
    with database.transaction() as connection:
        row = connection.execute(read).one()
        version = connection.scalar(newest) or 0
        return Member(
            stage=row.stage,
            guided=version > 0,
            unread=version > row.guideline,
            trained=connection.scalar(trains.limit(1)) is not None,
            answered=connection.scalar(sa.select(sa.func.count()).select_from(assignment).where(mine)) or 0,
        )


def newest_guideline(database: Database, name: str) -> dict[str, Any] | None:
    query = sa.select(guideline).where(guideline.c.project == name).order_by(guideline.c.version.desc()).limit(1)
    with database.transaction() as connection:
        row = connection.execute(query).mappings().first()
    return None if row is None else dict(row)


def has_read(database: Database, name: str, who: str, version: int) -> None:
    """Up to this version, if there is such a one; what was read is never unread."""
    newest = sa.select(sa.func.max(guideline.c.version)).where(guideline.c.project == name)
    with database.transaction(write=True) as connection:
        read = min(version, connection.scalar(newest) or 0)
        here = (member.c.project == name) & (member.c.rater == who) & (member.c.guideline < read)
        connection.execute(sa.update(member).where(here).values(guideline=read))


def state_of(database: Database, question_id: str) -> str:
    with database.transaction() as connection:
        return str(connection.scalar(sa.select(question.c.state).where(question.c.id == question_id)))


def marks(database: Database, name: str, who: str) -> list[bool]:
    """Of the exam's questions this rater has had: whether the answer was right."""
    query = (
        sa.select(assignment.c.answer, question.c.spec)
        .join(question, question.c.id == assignment.c.question)
        .where(assignment.c.rater == who, assignment.c.project == name, question.c.state == "exam")
        .where(assignment.c.state != "leased")
    )
    with database.transaction() as connection:
        return [is_right(answer, spec) for answer, spec in connection.execute(query)]


def notes(database: Database, seat: int) -> str:
    """What was written before the answers of this seat were shown."""
    query = sa.select(event.c.payload).where(event.c.key == f"notes-{seat}")
    with database.transaction() as connection:
        payload = connection.scalar(query)
    return str(payload["notes"]) if payload else ""


def write_notes(database: Database, seat: Seat, written: str) -> None:
    """Once; what was written first stays, for it was written before the answers were seen."""
    row = {
        "key": f"notes-{seat.id}", "time": clock.time(), "kind": "notes", "rater": seat.rater, "project": seat.project,
        "assignment": seat.id, "payload": {"notes": written.replace("\r\n", "\n")},
    }  # fmt: skip
    try:
        with database.transaction(write=True) as connection:
            connection.execute(event.insert().values(row))
    except sa.exc.IntegrityError:
        pass
