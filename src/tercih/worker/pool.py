"""A project's pair questions as acquisition sees them: which may be chosen, which wait, which are answered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from tercih.feedback.acquisition import RANDOM, Bools, Chosen, Floats
from tercih.feedback.database import Database
from tercih.feedback.store import load_items
from tercih.feedback.tables import assignment, question, score
from tercih.records import Text

SOONER = 1_000  # turns: a chosen question gets all its answers before any that was not chosen
INCLUSION = "inclusion"  # the kind of score that says a question was chosen, and how likely that was
CHUNK = 500
VOICE = {"a": 1.0, "b": 0.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """`open_pairs` and `answered` are pairs of items by question id; `target_N` is the share of voices for the first
    item and `active_N` which arm asked, in the order of the first answers."""

    open_pairs: Mapping[str, tuple[Text, Text]]
    answered: Mapping[str, tuple[Text, Text]]
    target_N: Floats
    active_N: Bools


_chosen = sa.exists().where(score.c.question == question.c.id, score.c.kind == INCLUSION)
_pairs = (question.c.kind == "pair") & question.c.repeats.is_(None)
_fresh = _pairs & (question.c.state == "open") & (question.c.taken == 0)


def count_waiting(database: Database, project: str) -> int:
    """How many questions of a project were chosen and seen by nobody yet."""
    query = sa.select(sa.func.count()).select_from(question).where(question.c.project == project, _fresh, _chosen)
    with database.transaction() as connection:
        return connection.scalar(query) or 0


def read_pool(database: Database, project: str, rule: str) -> Pool:
    """All of a project, in one look. Answered questions count if the random arm or `rule` asked them."""
    here = question.c.project == project
    unchosen = sa.select(question.c.id, question.c["items"].label("items_")).where(here, _fresh, ~_chosen)
    said = (
        sa.select(question.c.id, question.c["items"].label("items_"), question.c.sampler, assignment.c.answer)
        .join(assignment, assignment.c.question == question.c.id)
        .where(here, _pairs, assignment.c.state == "done", question.c.sampler.in_((RANDOM, rule)))
        .where(question.c.state.in_(("open", "full", "closed", "dissent")))
        .order_by(assignment.c.time, assignment.c.id)
    )
    with database.transaction() as connection:
        rows = connection.execute(unchosen).all()
        answers = connection.execute(said).all()
        wanted = {key for row in (*rows, *answers) for key in row.items_}
        items = load_items(connection, wanted)
    texts = {key: item for key, item in items.items() if isinstance(item, Text)}
    open_pairs = {
        row.id: _pair(row.items_, texts)
        for row in sorted(rows, key=lambda row: str(row.id))
        if set(row.items_) <= texts.keys()
    }
    return Pool(open_pairs=open_pairs, **_answered(answers, texts))


def write_choice(
    database: Database, ids: Sequence[str], score_N: Floats, chosen: Sequence[Chosen], rule: str, version: int
) -> int:
    """Scores of all candidates, and the chosen ones to the front with their sampler and propensity; in one transaction,
    so that a worker that dies leaves no half of it. Questions that a rater took meanwhile stay as they were. Returns
    how many were brought forward. A propensity with which a question came into the pool multiplies the arm's."""
    forward = (
        sa.update(question)
        .where(question.c.id == sa.bindparam("key"), question.c.taken == 0, question.c.state == "open")
        .values(
            turn=question.c.turn - SOONER,
            sampler=sa.bindparam("arm"),
            propensity=question.c.propensity * sa.bindparam("p"),
        )
    )
    scored = [
        {"question": key, "kind": rule, "value": float(value), "version": version}
        for key, value in zip(ids, score_N, strict=True)
        if np.isfinite(value)
    ]
    with database.transaction(write=True) as connection:
        for at in range(0, len(ids), CHUNK):
            old = score.c.question.in_(ids[at : at + CHUNK]) & (score.c.kind == rule)
            connection.execute(sa.delete(score).where(old))
        moved = []
        for each in chosen:
            values = {"key": ids[each.index], "arm": each.sampler, "p": each.propensity}
            if connection.execute(forward, values).rowcount:
                moved.append(each)
        included = [
            {"question": ids[each.index], "kind": INCLUSION, "value": each.inclusion, "version": version}
            for each in moved
        ]
        if scored or included:
            connection.execute(score.insert(), [*scored, *included])
    return len(moved)


def _pair(ids: Sequence[str], texts: Mapping[str, Text]) -> tuple[Text, Text]:
    return texts[ids[0]], texts[ids[1]]


def _answered(rows: Sequence[Any], texts: Mapping[str, Text]) -> dict[str, Any]:
    pairs: dict[str, tuple[Text, Text]] = {}
    voices: dict[str, list[float]] = {}
    active: dict[str, bool] = {}
    for key, ids, sampler, answer in rows:
        if answer.get("cannot") or not set(ids) <= texts.keys():
            continue
        pairs.setdefault(key, _pair(ids, texts))
        active.setdefault(key, sampler != RANDOM)
        voices.setdefault(key, []).append(VOICE.get(answer["choice"], 0.5))
    target_N = np.array([np.mean(each) for each in voices.values()], dtype=np.float64)
    return {"answered": pairs, "target_N": target_N, "active_N": np.array(list(active.values()), dtype=bool)}
