"""The queue's statements, built once: each call then costs what the database costs."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from tercih.feedback.prepared import Prepared
from tercih.feedback.tables import assignment, event, item, member, question, rater


def columns(table: sa.Table, *names: str) -> Sequence[sa.Column[Any]]:
    return [table.c[name] for name in names]


def _is(*states: str) -> sa.ColumnElement[bool]:
    """The question is in one of these states."""
    return sa.or_(*(question.c.state == state for state in states))


_B = sa.bindparam
_twice = sa.exists().where(assignment.c.question == question.c.id, assignment.c.rater == _B("rater"))
_chosen = sa.select(*columns(question, "id", "items", "spec", "kind", "state")).limit(1)
_open = (question.c.project == _B("project")) & (question.c.state == "open")
_soonest = sa.select(sa.func.min(question.c.turn)).where(_open, question.c.turn > _B("after")).scalar_subquery()
_here = _open & (question.c.turn == _soonest)
_aside = (question.c.project == _B("project")) & (question.c.state == _B("state"))
_from, _before = question.c.shuffle >= _B("start"), question.c.shuffle < _B("start")

HELD = Prepared(
    sa.select(assignment.c.id)
    .join(question, question.c.id == assignment.c.question)
    .where(
        question.c.state != "chat",
        assignment.c.rater == _B("rater"),
        assignment.c.project == _B("project"),
        assignment.c.state == "leased",
        assignment.c.expires >= _B("now"),
    )
    .order_by(assignment.c.id)
)
WHO = Prepared(
    sa.select(*columns(rater, "state", "stratum"), member.c.stage)
    .outerjoin(member, (member.c.rater == rater.c.id) & (member.c.project == _B("project")))
    .where(rater.c.id == _B("rater"))
)
NEXT_TURN = Prepared(sa.select(sa.func.min(question.c.turn)).where(_open, question.c.turn > _B("after")))
FROM_HERE = Prepared(
    _chosen.where(_here, _from, ~_twice).order_by(question.c.shuffle).with_for_update(skip_locked=True, of=question)
)
BEFORE_HERE = Prepared(
    _chosen.where(_here, _before, ~_twice).order_by(question.c.shuffle).with_for_update(skip_locked=True, of=question)
)
FROM_HERE_ASIDE = Prepared(_chosen.where(_aside, _from, ~_twice).order_by(question.c.turn, question.c.shuffle))
BEFORE_HERE_ASIDE = Prepared(_chosen.where(_aside, _before, ~_twice).order_by(question.c.turn, question.c.shuffle))
_counted = sa.update(question).where(question.c.id == _B("key"))
TAKE = Prepared(
    _counted.values(
        taken=question.c.taken + 1,
        turn=question.c.turn + _B("by"),
        state=sa.case((question.c.taken + 1 >= question.c.votes, "full"), else_="open"),
    )
)
TAKE_ASIDE = Prepared(_counted.values(taken=question.c.taken + 1))
GIVE_BACK = Prepared(
    _counted.values(
        taken=question.c.taken - 1, state=sa.case((question.c.state == "full", "open"), else_=question.c.state)
    )
)
COUNT = Prepared(
    _counted.values(
        done=question.c.done + 1,
        state=sa.case(
            (_is("open", "full") & (question.c.done + 1 >= question.c.votes), "closed"),
            else_=question.c.state,
        ),
    )
)
UNCOUNT = Prepared(
    _counted.values(
        done=question.c.done - 1,
        state=sa.case((_is("closed", "dissent"), "full"), else_=question.c.state),
    )
)
SIT = Prepared(
    assignment.insert().returning(assignment.c.id),
    inserts=("question", "rater", "project", "state", "claimed", "expires", "shown", "version"),
)
SEAT = Prepared(
    sa.select(
        assignment,
        *columns(question, "kind", "items", "spec", "votes", "done"),
        question.c.state.label("question_state"),
    )
    .join(question, question.c.id == assignment.c.question)
    .where(assignment.c.id == _B("seat"))
)
ANSWER = Prepared(
    sa.update(assignment)
    .where(assignment.c.id == _B("seat"))
    .values(state="done", answer=_B("said", type_=sa.JSON), version=_B("newest"), time=_B("at"), seconds=_B("took"))
)
EARLIER = Prepared(
    sa.select(
        assignment.c.question,
        assignment.c.shown,
        *columns(question, "project", "run", "step", "kind", "items", "spec", "sampler", "propensity"),
    )
    .join(question, question.c.id == assignment.c.question)
    .where(
        assignment.c.rater == _B("rater"),
        assignment.c.project == _B("project"),
        assignment.c.state == "done",
        _is("open", "full", "closed"),
    )
    .order_by(assignment.c.time.desc())
    .limit(1)
    .offset(_B("back"))
)
RAN_OUT = Prepared(
    sa.select(assignment.c.id, assignment.c.rater)
    .where(assignment.c.state == "leased", assignment.c.expires < _B("now"))
    .limit(1000)
)
LOG = Prepared(event.insert(), inserts=("key", "time", "kind", "rater", "project", "assignment", "payload"))
HAD = Prepared(
    sa.select(
        sa.func.count().label("all"),
        sa.func.sum(sa.case((question.c.state == _B("aside"), 1), else_=0)).label("aside"),
    )
    .join_from(assignment, question, question.c.id == assignment.c.question)
    .where(assignment.c.rater == _B("rater"), assignment.c.project == _B("project"))
)
ITEM = Prepared(sa.select(item).where(item.c.id == _B("key")))
