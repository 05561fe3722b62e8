"""Conversations of raters with the current policy, and what is asked about them.

A conversation is one row: what its rater said, and the jobs of `tercih worker` that answer. How far it is follows from
what became of those jobs and from what the rater has judged; nothing is written when an answer arrives, so a server or
a worker may die at any moment. What is judged becomes a question of its own (run "chat ID", step the turn) in the state
"chat", which the queue gives to nobody else.
"""

import random
import time as clock
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from tercih.feedback import jobs
from tercih.feedback.database import Database
from tercih.feedback.questions import Question
from tercih.feedback.queue import NotYours, QueueError, Unknown
from tercih.feedback.tables import assignment, chat, job, question
from tercih.records import Message, Text, content_hash

MOST_CHARACTERS = 4_000  # of one message
MOST_TURNS = 20
PATIENCE = 8.0  # seconds after which a job that nobody took up says that no worker is there
PAIR = 2  # the index of a comparison; 0 and 1 are thumbs on the first and the second answer

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """A message of the rater's with the model's answers to it; `answers[kept]` is the one that it goes on with."""

    said: str
    answers: tuple[Text, ...]
    kept: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Chat:
    """A conversation as it stands.

    `stage` is that of its last turn: "writing"; "waiting" where no worker seems to be there; "failed", for the reason
    `error`; "compare", where two answers are to be judged; "same", where the second answer was the first once more;
    "answered". `good` is the rater's thumb on the last answer and `version` that of this judgement.
    """

    id: str
    project: str
    rater: str
    turns: tuple[Turn, ...]
    stage: str
    error: str = ""
    good: bool | None = None
    version: int = 0

    @property
    def last(self) -> Turn:
        return self.turns[-1]

    @property
    def messages(self) -> tuple[Message, ...]:
        """What was said so far, without the answers that were not kept."""
        return messages_of(self.turns)

    @property
    def may_speak(self) -> bool:
        """Whether the next message may be sent; where a second answer failed, the first one is still there."""
        ready = self.stage in ("answered", "same") or (self.stage == "failed" and bool(self.last.answers))
        return ready and len(self.turns) < MOST_TURNS

    @property
    def may_compare(self) -> bool:
        return self.stage == "answered" and len(self.last.answers) == 1

    @property
    def thumb(self) -> Question:
        """Is the last answer good?"""
        return self._ask("thumb", (self.last.answers[self.last.kept],), self.last.kept)

    @property
    def pair(self) -> Question:
        """Which of the two last answers is better? The first one, a, is the older."""
        return self._ask("pair", self.last.answers, PAIR)

    def _ask(self, kind: str, items: tuple[Text, ...], index: int) -> Question:
        turn = len(self.turns) - 1
        return Question(
            items=items, run=run_of(self.id), step=turn, index=index, kind=kind, project=self.project, sampler="chat",
            votes=1, spec={"chat": self.id, "turn": turn},
        )  # fmt: skip


def run_of(key: str) -> str:
    return f"chat {key}"


def messages_of(turns: Sequence[Turn]) -> tuple[Message, ...]:
    said: list[Message] = []
    for turn in turns:
        said.append(Message(role="user", content=turn.said))
        if turn.answers:
            said.append(Message(role="assistant", content=str(turn.answers[turn.kept].completion)))
    return tuple(said)


# What a rater does


def begin(database: Database, project: str, rater: str, said: str, key: str) -> str:
    """A new conversation with its first message; its id. The same `key` and message again are the same conversation."""
    made = content_hash([rater, key, said])
    with database.transaction(write=True) as connection:
        if connection.scalar(sa.select(chat.c.id).where(chat.c.id == made)) is None:
            turns = [_turn(connection, made, project, (), said)]
            row = {"id": made, "project": project, "rater": rater, "turns": turns, "created": clock.time()}
            connection.execute(chat.insert().values(row))
    return made


def speak(database: Database, key: str, rater: str, said: str, turn: int) -> None:
    """Say the message number `turn`, and ask for an answer; the same again changes nothing.

    Raises QueueError where another one was said there, or it is not the rater's turn.
    """
    with database.transaction(write=True) as connection:
        row = _row(connection, key, rater, write=True)
        now = _chat(connection, row)
        if turn < len(now.turns) and now.turns[turn].said == said:
            return
        if turn != len(now.turns) or not now.may_speak:
            raise QueueError("the conversation went on elsewhere, or the model is still writing")
        last = row["turns"][-1]
        answered = [*row["turns"][:-1], last | {"jobs": last["jobs"][: len(now.last.answers)], "kept": now.last.kept}]
        _write(connection, row, [*answered, _turn(connection, key, now.project, now.messages, said)])


def again(database: Database, key: str, rater: str, turn: int) -> None:
    """Ask for another answer: in place of one that failed or said the same, or to compare. The same again, or where
    there is nothing to ask for, changes nothing."""
    with database.transaction(write=True) as connection:
        row = _row(connection, key, rater, write=True)
        now = _chat(connection, row)
        if turn != len(now.turns) - 1 or not (now.may_compare or now.stage in ("failed", "same")):
            return
        last = row["turns"][-1]
        before = last["jobs"] if now.may_compare else last["jobs"][:-1]
        so_far = (*messages_of(now.turns[:-1]), Message(role="user", content=now.last.said))
        asked = _ask(connection, key, now.project, turn, so_far)
        _write(connection, row, [*row["turns"][:-1], last | {"jobs": [*before, asked]}])


def read(database: Database, key: str, rater: str) -> Chat:
    """Raises Unknown, or NotYours for a conversation of somebody else's."""
    with database.transaction() as connection:
        return _chat(connection, _row(connection, key, rater))


def earlier(database: Database, project: str, rater: str, most: int = 20) -> list[tuple[str, str, float]]:
    """This rater's conversations, the latest first: id, first message, when."""
    query = sa.select(chat.c.id, chat.c.turns, chat.c.created).where(chat.c.project == project, chat.c.rater == rater)
    with database.transaction() as connection:
        rows = connection.execute(query.order_by(chat.c.created.desc(), chat.c.id).limit(most)).all()
    return [(row.id, row.turns[0]["said"], row.created) for row in rows]


def forget(connection: sa.Connection, rater: str) -> None:
    """Take away a rater's conversations and the jobs that hold them; what they judged stays."""
    for key in connection.execute(sa.select(chat.c.id).where(chat.c.rater == rater)).scalars().all():
        connection.execute(sa.delete(job).where(job.c.key.like(f"{run_of(key)} %")))
    connection.execute(sa.delete(chat).where(chat.c.rater == rater))


# Rows


def _row(connection: sa.Connection, key: str, rater: str, *, write: bool = False) -> Row:
    query = sa.select(chat).where(chat.c.id == key)
    row = connection.execute(query.with_for_update() if write else query).mappings().first()
    if row is None:
        raise Unknown("there is no such conversation")
    if row["rater"] != rater:
        raise NotYours("this is somebody else's conversation")
    return dict(row)


def _write(connection: sa.Connection, row: Row, turns: list[dict[str, Any]]) -> None:
    connection.execute(sa.update(chat).where(chat.c.id == row["id"]).values(turns=turns))


def _turn(connection: sa.Connection, key: str, project: str, before: tuple[Message, ...], said: str) -> dict[str, Any]:
    so_far = (*before, Message(role="user", content=said))
    asked = _ask(connection, key, project, sum(each.role == "user" for each in before), so_far)
    return {"said": said, "jobs": [asked], "kept": 0}


def _ask(connection: sa.Connection, key: str, project: str, turn: int, messages: Sequence[Message]) -> int:
    """The job's key leads back to the conversation; a seed of its own makes its answer another one."""
    seed = random.getrandbits(31)
    payload = {"messages": [{"role": each.role, "content": each.content} for each in messages], "seed": seed}
    return jobs.insert(connection, "chat", payload, f"{run_of(key)} {turn} {seed}", project=project)


def _chat(connection: sa.Connection, row: Row) -> Chat:
    """The turns with their answers, then what the rater has judged of the last one."""
    ids = [each for turn in row["turns"] for each in turn["jobs"]]
    found = connection.execute(sa.select(job).where(job.c.id.in_(ids))).mappings()
    outcomes = {each["id"]: dict(each) for each in found}
    turns: list[Turn] = []
    for turn in row["turns"]:
        prompt = (*messages_of(turns), Message(role="user", content=turn["said"]))
        done = [outcomes[each] for each in turn["jobs"] if outcomes[each]["state"] == "done"]
        answers = tuple(_answer(prompt, each["result"]["value"]) for each in done)
        turns.append(Turn(said=turn["said"], answers=answers, kept=turn["kept"]))
    stage, error = _stage(outcomes[row["turns"][-1]["jobs"][-1]])
    names = {name: row[name] for name in ("id", "project", "rater")}
    now = Chat(turns=tuple(turns), stage=stage, error=error, **names)
    return now if now.stage in ("writing", "waiting") else _judged(connection, now)


def _answer(prompt: tuple[Message, ...], said: Row) -> Text:
    """With the tokens that were sampled; `origin` is the policy that the worker had then."""
    return Text(
        prompt=prompt, completion=said["text"], origin=said["model"], prompt_ids=tuple(said.get("prompt_ids", ())),
        completion_ids=tuple(said.get("completion_ids", ())), tokenizer=said.get("tokenizer", ""),
    )  # fmt: skip


def _stage(asked: Row) -> tuple[str, str]:
    """Of the job that was asked for last, and why it failed."""
    now = clock.time()
    if asked["state"] == "failed":
        return "failed", str(asked["result"]["error"])
    if asked["state"] == "done":
        return "answered", ""
    idle = asked["expires"] < now if asked["state"] == "running" else now - asked["created"] > PATIENCE
    return "waiting" if idle else "writing", ""


def _judged(connection: sa.Connection, now: Chat) -> Chat:
    """A pair that its rater left, could not judge or called equal goes on with the older answer."""
    if not now.last.answers:
        return now
    if len(now.last.answers) == 2 and now.last.answers[0].id == now.last.answers[1].id:
        now = replace(now, stage="same")
    elif len(now.last.answers) == 2:
        said = _seat(connection, now.pair)
        if said["state"] not in ("done", "skipped") and said["asked"] != "withdrawn":
            return replace(now, stage="compare")
        preferred = said["state"] == "done" and said["answer"].get("choice") == "b"
        now = replace(now, turns=(*now.turns[:-1], replace(now.last, kept=int(preferred))))
    said = _seat(connection, now.thumb)
    return replace(now, good=said["answer"].get("good") if said["state"] == "done" else None, version=said["version"])


def _seat(connection: sa.Connection, asked: Question) -> Row:
    """What became of a question of this conversation, whose one rater is its own."""
    query = (
        sa.select(*(assignment.c[name] for name in ("state", "answer", "version")), question.c.state.label("asked"))
        .join(question, question.c.id == assignment.c.question)
        .where(question.c.id == asked.id)
    )
    found = connection.execute(query).mappings().first()
    return dict(found) if found is not None else {"state": "", "answer": None, "version": 0, "asked": ""}
