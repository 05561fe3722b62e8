"""What leads see and decide: progress, raters, disagreement, answers, the log."""

import time as clock
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from tercih.feedback import kinds
from tercih.feedback.database import Database
from tercih.feedback.projects import Project, ProjectError
from tercih.feedback.queue import QueueError, Seat, Unknown, seat_of
from tercih.feedback.search import Filters, latest
from tercih.feedback.store import load_items
from tercih.feedback.tables import account, assignment, event, guideline, member, question, rater
from tercih.feedback.tables import project as projects
from tercih.feedback.web.accounts import note

PAGE = 50  # rows
Rows = list[dict[str, Any]]


def all_projects(database: Database) -> Rows:
    """Every project with its questions; `settings` is None for a run's own, which cannot be shown to people."""
    wanted = question.c.state.in_(("open", "full", "closed", "dissent"))
    query = (
        sa.select(
            projects.c.id,
            sa.func.count(question.c.id).label("questions"),
            sa.func.coalesce(sa.func.sum(question.c.done), 0).label("answers"),
            sa.func.coalesce(sa.func.sum(sa.case((question.c.state == "closed", 1), else_=0)), 0).label("closed"),
            sa.func.coalesce(sa.func.sum(sa.case((question.c.state == "dissent", 1), else_=0)), 0).label("dissent"),
        )
        .outerjoin(question, (question.c.project == projects.c.id) & wanted)
        .group_by(projects.c.id)
        .order_by(projects.c.id)
    )
    rows = _rows(database, query)
    with database.transaction() as connection:
        configs = {row.id: row.config for row in connection.execute(sa.select(projects.c.id, projects.c.config))}
    for row in rows:
        try:
            row["settings"] = Project.of(row["id"], configs[row["id"]])
        except ProjectError:
            row["settings"] = None
    return rows


def states(database: Database, name: str) -> dict[str, int]:
    """Of a project's questions: how many are in which state."""
    query = sa.select(question.c.state, sa.func.count().label("n")).where(question.c.project == name)
    return {row["state"]: row["n"] for row in _rows(database, query.group_by(question.c.state))}


def raters_of(database: Database, name: str) -> Rows:
    """Who has been in a project, what they did, and how long an answer takes them."""
    here = (assignment.c.rater == member.c.rater) & (assignment.c.project == name)
    count = {
        state: sa.func.coalesce(sa.func.sum(sa.case((assignment.c.state == state, 1), else_=0)), 0).label(state)
        for state in ("done", "skipped", "expired")
    }
    query = (
        sa.select(
            *(rater.c[column] for column in ("id", "role", "state", "stratum")),
            *(member.c[column] for column in ("stage", "tries", "guideline")),
            *count.values(),
            sa.func.avg(assignment.c.seconds).label("seconds"),
        )
        .select_from(member)
        .join(rater, rater.c.id == member.c.rater)
        .outerjoin(assignment, here)
        .where(member.c.project == name)
        .group_by(rater.c.id, member.c.stage, member.c.tries, member.c.guideline)
        .order_by(rater.c.id)
    )
    return _rows(database, query)


def people(database: Database, *, logins: bool) -> Rows:
    """Everybody who has or had an account; their logins for those alone who may see them."""
    query = (
        sa.select(*(rater.c[column] for column in ("id", "role", "state", "stratum", "created")), account.c.login)
        .outerjoin(account, account.c.rater == rater.c.id)
        .where(rater.c.kind == "person")
        .order_by(rater.c.created)
    )
    rows = _rows(database, query)
    return rows if logins else [row | {"login": None} for row in rows]


def role_of(database: Database, who: str) -> str:
    with database.transaction() as connection:
        found = connection.scalar(sa.select(rater.c.role).where(rater.c.id == who))
    if found is None:
        raise Unknown(f"there is no rater {who!r}")
    return str(found)


def exam_again(database: Database, name: str, who: str, by: str) -> None:
    """A rater may sit the exam once more: their seats at it are cleared; what they said stays in the log."""
    exam = sa.select(question.c.id).where(question.c.project == name, question.c.state == "exam")
    seats = sa.select(assignment).where(assignment.c.rater == who, assignment.c.question.in_(exam))
    here = (member.c.project == name) & (member.c.rater == who) & (member.c.stage == "failed")
    with database.transaction(write=True) as connection:
        if connection.execute(sa.update(member).where(here).values(stage="exam")).rowcount != 1:
            raise QueueError("only an exam that was not passed is opened again")
        for seat in connection.execute(seats).mappings().all():
            held, said = seat["state"] in ("leased", "done"), seat["state"] == "done"
            counters = {"taken": question.c.taken - int(held), "done": question.c.done - int(said)}
            connection.execute(sa.update(question).where(question.c.id == seat["question"]).values(counters))
            connection.execute(sa.delete(assignment).where(assignment.c.id == seat["id"]))
        note(connection, "exam_again", by, name, about=who)


# Disagreement


def dissent(database: Database, name: str) -> list[str]:
    """The questions on which raters disagree to the end."""
    query = sa.select(question.c.id).where(question.c.project == name, question.c.state == "dissent")
    return [row["id"] for row in _rows(database, query.order_by(question.c.turn, question.c.id).limit(PAGE))]


def disputed(database: Database, name: str, key: str, by: str) -> tuple[Seat, Rows]:
    """A question in its own order as if somebody sat at it, and what was said. Raises Unknown."""
    said = sa.select(assignment).where(assignment.c.question == key, assignment.c.state == "done")
    with database.transaction() as connection:
        row = connection.execute(
            sa.select(question).where(question.c.id == key, question.c.project == name, question.c.state == "dissent")
        ).mappings().first()  # fmt: skip
        if row is None:
            raise Unknown("there is no such question, or it was decided meanwhile")
        own = {"id": 0, "question": key, "rater": by, "shown": {}, "answer": None, "version": 0, "expires": 0.0}
        seat = seat_of(connection, dict(row) | own)
        return seat, [dict(each) for each in connection.execute(said.order_by(assignment.c.id)).mappings()]


def adjudicate(database: Database, name: str, key: str, by: str, answer: Mapping[str, Any]) -> None:
    """The lead's answer, one vote more than raters had, closes the question. It says in `shown` what it is."""
    now = clock.time()
    with database.transaction(write=True) as connection:
        row = connection.execute(sa.select(question).where(question.c.id == key)).mappings().first()
        if row is None or row["project"] != name or row["state"] != "dissent":
            raise Unknown("there is no such question, or it was decided meanwhile")
        mine = sa.select(assignment.c.id).where(assignment.c.question == key, assignment.c.rater == by)
        if connection.scalar(mine):
            raise QueueError("you were one of those who disagree; somebody else decides")
        items = load_items(connection, row["items"])
        checked = kinds.check(row["kind"], answer, [items[each] for each in row["items"]], row["spec"])
        more = {name: question.c[name] + 1 for name in ("votes", "taken", "done")}
        connection.execute(sa.update(question).where(question.c.id == key).values(more | {"state": "closed"}))
        shown = {"order": list(range(len(row["items"]))), "adjudication": True}
        seat = {
            "question": key, "rater": by, "project": name, "state": "done", "claimed": now, "expires": now,
            "shown": shown, "answer": checked, "version": 1, "time": now,
        }  # fmt: skip
        connection.execute(assignment.insert().values(seat))
        note(connection, "adjudicate", by, name, question=key, answer=checked, shown=shown)


# Looking things up


def seats(database: Database, name: str, filters: Filters, state: str, page: int) -> Rows:
    """A page of the seats that were left, the latest first, and one more if there are more."""
    with database.transaction() as connection:
        return latest(connection, name, filters, state, skip=page * PAGE, limit=PAGE + 1)


def log(database: Database, *, project: str, who: str, kind: str, page: int) -> Rows:
    """The events, the latest first."""
    query = sa.select(event).order_by(event.c.id.desc()).limit(PAGE + 1).offset(PAGE * page)
    for column, value in ((event.c.project, project), (event.c.rater, who), (event.c.kind, kind)):
        query = query.where(column == value) if value else query
    return _rows(database, query)


def guidelines(database: Database, name: str) -> Rows:
    query = sa.select(guideline).where(guideline.c.project == name).order_by(guideline.c.version.desc())
    return _rows(database, query)


def add_guideline(database: Database, name: str, text: str, by: str) -> int:
    """A new version, which raters read before they go on; the same text again is none."""
    newest = sa.select(guideline.c.version, guideline.c.text).where(guideline.c.project == name)
    with database.transaction(write=True) as connection:
        last = connection.execute(newest.order_by(guideline.c.version.desc()).limit(1)).first()
        if last is not None and last.text == text:
            return int(last.version)
        version = 1 if last is None else last.version + 1
        connection.execute(guideline.insert().values(project=name, version=version, text=text, created=clock.time()))
        note(connection, "guideline", by, name, version=version)
    return int(version)


def record(database: Database, kind: str, by: str, project: str | None = None, **payload: Any) -> None:
    """A line in the log, of what was done elsewhere."""
    with database.transaction(write=True) as connection:
        note(connection, kind, by, project, **payload)


def _rows(database: Database, query: sa.Select[Any]) -> Rows:
    with database.transaction() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]
