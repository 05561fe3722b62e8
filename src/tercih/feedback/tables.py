"""The store's tables, in types that SQLite and PostgreSQL share, and how records become rows and back.

Four of them carry the work: an `item` is what people see, a `question` asks about one or several items, an
`assignment` is one rater's seat at a question with the answer that stands there now, and an `event` says what happened,
in order, and is never changed. Counters on `question` are kept by whoever takes a seat; the database itself refuses one
too many.

A change of the tables is a new file in `migrations/versions`; `HEAD` names the newest.
"""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Boolean, CheckConstraint, Column, Float, ForeignKey, Index, Integer, String, UniqueConstraint

from tercih.records import Clip, Content, Item, Message, Text

HEAD = "0002"

metadata = sa.MetaData()
NUMBER = sa.BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only columns called INTEGER

project = sa.Table(
    "project",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("config", sa.JSON, nullable=False),  # projects.Project
    Column("created", Float, nullable=False),
)

item = sa.Table(
    "item",
    metadata,
    Column("id", String(20), primary_key=True),  # a hash of what a rater sees
    Column("kind", String(8), CheckConstraint("kind IN ('text', 'clip')"), nullable=False),
    Column("content", sa.JSON, nullable=False),
    Column("tokens", sa.JSON),  # the ids that were sampled; pages never read them
    Column("origin", String, nullable=False),
    Column("columns", sa.JSON, nullable=False),
)

question = sa.Table(
    "question",
    metadata,
    Column("id", String(20), primary_key=True),  # a hash of run, step and index
    Column("project", ForeignKey("project.id"), nullable=False),
    Column("run", String, nullable=False),
    Column("step", Integer, nullable=False),
    Column("index", Integer, nullable=False),
    Column("kind", String(32), nullable=False),  # of kinds.KINDS
    Column("items", sa.JSON, nullable=False),  # their ids
    Column("spec", sa.JSON, nullable=False),  # what else belongs to it: a rule, evidence, the gold answer, …
    Column("sampler", String, nullable=False),
    Column("propensity", Float, nullable=False),
    Column("repeats", ForeignKey("question.id")),  # a repeat, shown the other way round, of this one
    # the queue
    Column("state", String(10), nullable=False),  # of queue.STATES
    Column("turn", Integer, nullable=False),  # the smaller, the sooner
    Column("shuffle", Integer, nullable=False),  # random: the order among those of one turn
    Column("votes", Integer),  # how many raters are wanted; NULL: everybody once
    Column("taken", Integer, nullable=False),  # seats that are leased or answered
    Column("done", Integer, nullable=False),  # seats that are answered
    UniqueConstraint("run", "step", "index"),
    CheckConstraint("taken <= votes", name="no_more_raters_than_wanted"),
    CheckConstraint("0 <= done AND done <= taken", name="answers_come_from_seats"),
    Index("question_queue", "project", "state", "turn", "shuffle"),
)

rater = sa.Table(
    "rater",
    metadata,
    Column("id", String(64), primary_key=True),  # a pseudonym
    Column("kind", String, CheckConstraint("kind IN ('person', 'simulated')"), nullable=False),
    Column("role", String(8), CheckConstraint("role IN ('rater', 'lead', 'admin', 'service')"), nullable=False),
    Column("state", String(8), CheckConstraint("state IN ('active', 'paused', 'erased')"), nullable=False),
    Column("stratum", String(64)),
    Column("created", Float, nullable=False),
)

assignment = sa.Table(
    "assignment",
    metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=True),
    Column("question", ForeignKey("question.id"), nullable=False),
    Column("rater", ForeignKey("rater.id"), nullable=False),
    Column("project", String(64), nullable=False),
    Column("state", String(10), CheckConstraint("state IN ('leased', 'done', 'skipped', 'expired')"), nullable=False),
    Column("claimed", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("shown", sa.JSON, nullable=False),  # the order of the items, and all else that was visible
    Column("answer", sa.JSON),  # that stands now; earlier versions are in `event`
    Column("version", Integer, nullable=False),
    Column("time", Float),  # of the answer
    Column("seconds", Float),  # the rater was active
    UniqueConstraint("question", "rater", name="no_rater_twice"),
    Index("assignment_rater", "rater", "project", "state", "time"),
    Index(
        "assignment_leases",
        "expires",
        sqlite_where=sa.text("state = 'leased'"),
        postgresql_where=sa.text("state = 'leased'"),
    ),
    sqlite_autoincrement=True,
)

event = sa.Table(
    "event",
    metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=True),  # the order in which things happened
    Column("key", String(64), unique=True),  # given by the client: the same again is the same event
    Column("time", Float, nullable=False),
    Column("kind", String(16), nullable=False),  # answer, skip, undo, late, …
    Column("rater", String(64), index=True),
    Column("project", String(64), index=True),
    Column("assignment", NUMBER),
    Column("payload", sa.JSON, nullable=False),
    sqlite_autoincrement=True,
)

member = sa.Table(
    "member",
    metadata,
    Column("project", ForeignKey("project.id"), primary_key=True),
    Column("rater", ForeignKey("rater.id"), primary_key=True),
    Column("stage", String(8), CheckConstraint("stage IN ('tutorial', 'exam', 'passed', 'failed')"), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("guideline", Integer, nullable=False),  # the newest version they have read
)

guideline = sa.Table(
    "guideline",
    metadata,
    Column("project", ForeignKey("project.id"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("text", sa.Text, nullable=False),
    Column("created", Float, nullable=False),
)

quota = sa.Table(
    "quota",
    metadata,
    Column("project", ForeignKey("project.id"), primary_key=True),
    Column("stratum", String(64), primary_key=True),
    Column("most", Integer, nullable=False),
    Column("taken", Integer, nullable=False),
    CheckConstraint("taken <= most", name="no_more_than_the_quota"),
)

# Who people are stands apart from what they said, so that it can be erased.

account = sa.Table(
    "account",
    metadata,
    Column("rater", ForeignKey("rater.id"), primary_key=True),
    Column("login", String(200), unique=True),  # NULL, as the password, where another service signs them in
    Column("password", String(200)),  # argon2
    Column("link", String(64), unique=True),  # a hash of that service and of whom it calls them
    Column("language", String(8), nullable=False),
)

session = sa.Table(
    "session",
    metadata,
    Column("digest", String(64), primary_key=True),  # of the cookie
    Column("rater", ForeignKey("rater.id"), nullable=False, index=True),
    Column("csrf", String(64), nullable=False),
    Column("expires", Float, nullable=False),
)

api_key = sa.Table(
    "api_key",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("rater", ForeignKey("rater.id"), nullable=False),
    Column("name", String(100), nullable=False),
    Column("scopes", sa.JSON, nullable=False),
    Column("created", Float, nullable=False),
    Column("used", Float),  # last, to keys.TOUCH_SECONDS
    Column("revoked", Boolean, nullable=False),
)

invitation = sa.Table(
    "invitation",
    metadata,
    Column("digest", String(64), primary_key=True),  # of the link; used once
    Column("role", String(8), nullable=False),
    Column("stratum", String(64)),
    Column("expires", Float, nullable=False),
    Column("used", Float),
)

failure = sa.Table(  # wrong passwords, invitations and keys of the last minutes, for web.limiter
    "failure",
    metadata,
    Column("name", String(64), nullable=False),  # a hash of what was tried, or from where
    Column("time", Float, nullable=False, index=True),
    Index("failure_name", "name", "time"),
)

# What the server leaves to `tercih worker`

job = sa.Table(
    "job",
    metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=True),
    Column("key", String(64), unique=True),
    Column("kind", String(16), nullable=False),
    Column("project", String(64)),
    Column("payload", sa.JSON, nullable=False),
    Column("state", String(8), CheckConstraint("state IN ('waiting', 'running', 'done', 'failed')"), nullable=False),
    Column("result", sa.JSON),
    Column("tries", Integer, nullable=False),
    Column("expires", Float),
    Column("created", Float, nullable=False),
    Index("job_waiting", "state", "id"),
    sqlite_autoincrement=True,
)

chat = sa.Table(
    "chat",
    metadata,
    Column("id", String(20), primary_key=True),
    Column("project", ForeignKey("project.id"), nullable=False),
    Column("rater", ForeignKey("rater.id"), nullable=False),
    Column("turns", sa.JSON, nullable=False),  # what the rater said, and the jobs that answer; see chats.py
    Column("created", Float, nullable=False),
    Index("chat_rater", "rater", "project", "created"),
)

# An agent acts before a rater, who says good or bad as it does

act = sa.Table(
    "act",
    metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=True),
    Column("key", String(32), unique=True, nullable=False),  # names its question and its files
    Column("project", ForeignKey("project.id"), nullable=False),
    Column("rater", ForeignKey("rater.id"), nullable=False),
    Column("job", ForeignKey("job.id"), nullable=False),  # whose payload says what acts, and where
    Column("state", String(8), CheckConstraint("state IN ('waiting', 'acting', 'over', 'stopped')"), nullable=False),
    Column("step", Integer, nullable=False),  # the newest that was shown
    Column("seconds", Float, nullable=False),  # after the first frame, at which it was shown
    Column("created", Float, nullable=False),
    Column("looked", Float, nullable=False),  # when the rater last looked
    Column("beat", Float),  # when the worker last showed something
    Column("ended", Float),
    Column("question", ForeignKey("question.id")),  # whose answer its signals became
    Index("act_rater", "rater", "project", "id"),
    sqlite_autoincrement=True,
)

frame = sa.Table(
    "frame",
    metadata,
    Column("act", ForeignKey("act.id"), primary_key=True),  # the newest alone is kept
    Column("step", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("jpeg", sa.LargeBinary, nullable=False),
)

signal = sa.Table(
    "signal",
    metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=True),
    Column("key", String(64), unique=True, nullable=False),  # given by the page: the same again is the same signal
    Column("act", ForeignKey("act.id"), nullable=False, index=True),
    Column("value", Integer, CheckConstraint("value IN (-1, 0, 1)"), nullable=False),  # 0 takes an earlier one back
    Column("takes_back", NUMBER, unique=True),
    Column("step", Integer, nullable=False),  # what was on the screen
    Column("seconds", Float, nullable=False),  # on the act's own clock, when the key was pressed
    Column("received", Float, nullable=False),
    Column("action", Integer),  # what is done in the agent's place from here on, by its number; -1: the agent's again
    sqlite_autoincrement=True,
)

score = sa.Table(
    "score",
    metadata,
    Column("question", ForeignKey("question.id"), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("value", Float, nullable=False),
    Column("version", Integer, nullable=False),
)

fit = sa.Table(
    "fit",
    metadata,
    Column("project", ForeignKey("project.id"), primary_key=True),
    Column("kind", String(32), primary_key=True),  # raters, consensus, savings, …
    Column("events", NUMBER, nullable=False),  # the last event it has seen
    Column("time", Float, nullable=False),
    Column("result", sa.JSON, nullable=False),
)


def item_row(value: Item) -> dict[str, Any]:
    row = {"id": value.id, "origin": value.origin, "columns": dict(value.columns), "tokens": None}
    if isinstance(value, Clip):
        content = {"media": value.media, "digest": value.digest, "seconds": value.seconds, "steps": value.steps}
        return row | {"kind": "clip", "content": content}
    if value.completion_ids or value.prompt_ids:
        row["tokens"] = {
            "prompt": list(value.prompt_ids),
            "completion": list(value.completion_ids),
            "tokenizer": value.tokenizer,
        }
    return row | {"kind": "text", "content": {"prompt": _plain(value.prompt), "completion": _plain(value.completion)}}


def item_of(row: Mapping[str, Any]) -> Item:
    content, rest = row["content"], {"origin": row["origin"], "columns": row["columns"]}
    if row["kind"] == "clip":
        return Clip(**content, **rest)
    tokens = row["tokens"] or {"prompt": (), "completion": (), "tokenizer": ""}
    return Text(
        prompt=_content(content["prompt"]),
        completion=_content(content["completion"]),
        prompt_ids=tuple(tokens["prompt"]),
        completion_ids=tuple(tokens["completion"]),
        tokenizer=tokens["tokenizer"],
        **rest,
    )


def _plain(content: Content) -> str | list[list[str]]:
    return content if isinstance(content, str) else [[message.role, message.content] for message in content]


def _content(plain: str | list[list[str]]) -> Content:
    return plain if isinstance(plain, str) else tuple(Message(role=role, content=text) for role, text in plain)
