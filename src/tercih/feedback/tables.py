"""The store's tables, in types that SQLite and PostgreSQL share, and how records become rows and back.

A change of the tables raises `VERSION`; the table `schema_version` says what a database was made with.
"""

import sqlite3
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, Float, ForeignKey, Integer, String, UniqueConstraint

from tercih.records import Content, Item, Message, Text

VERSION = 1
BUSY_SECONDS = 30.0  # how long a writer waits for another one

metadata = sa.MetaData()

schema_version = sa.Table("schema_version", metadata, Column("version", Integer, primary_key=True))

item = sa.Table(
    "item",
    metadata,
    Column("id", String(20), primary_key=True),  # Text.id, a hash of prompt and completion
    Column("prompt", sa.JSON, nullable=False),
    Column("completion", sa.JSON, nullable=False),
    Column("prompt_ids", sa.JSON, nullable=False),
    Column("completion_ids", sa.JSON, nullable=False),
    Column("tokenizer", String, nullable=False),
    Column("origin", String, nullable=False),
    Column("columns", sa.JSON, nullable=False),
)

question = sa.Table(
    "question",
    metadata,
    Column("id", String(20), primary_key=True),  # a hash of run, step and index
    Column("a", ForeignKey("item.id"), nullable=False),
    Column("b", ForeignKey("item.id"), nullable=False),
    Column("run", String, nullable=False),
    Column("step", Integer, nullable=False),
    Column("index", Integer, nullable=False),
    Column("sampler", String, nullable=False),
    Column("propensity", Float, nullable=False),
    UniqueConstraint("run", "step", "index"),
)

rater = sa.Table(
    "rater",
    metadata,
    Column("id", String, primary_key=True),  # a pseudonym
    Column("kind", String, CheckConstraint("kind IN ('person', 'simulated')"), nullable=False),
)

judgement = sa.Table(
    "judgement",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),  # the order in which answers came
    Column("question", ForeignKey("question.id"), nullable=False),
    Column("rater", ForeignKey("rater.id"), nullable=False, index=True),
    Column("answer", String(3), CheckConstraint("answer IN ('a', 'b', 'tie')"), nullable=False),
    Column("left", String(1)),
    Column("strength", Float, nullable=False),
    Column("time", Float, nullable=False),
    Column("seconds", Float),
    UniqueConstraint("question", "rater"),
    sqlite_autoincrement=True,
)


def engine(url: str) -> sa.Engine:
    """An engine; on SQLite with write-ahead log, foreign keys, and writers that queue instead of failing.

    Transactions begin IMMEDIATE where the connection has the execution option `write`: a transaction that reads first
    and writes later would be refused at once, whatever the time-out.
    """
    made = sa.create_engine(url)
    if made.dialect.name != "sqlite":
        return made

    @sa.event.listens_for(made, "connect")
    def _(connection: sqlite3.Connection, record: object) -> None:
        connection.isolation_level = None  # SQLAlchemy's BEGIN below, not the driver's
        for pragma in (f"busy_timeout={int(BUSY_SECONDS * 1000)}", "journal_mode=WAL", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("PRAGMA foreign_keys=ON")

    @sa.event.listens_for(made, "begin")
    def _(connection: sa.Connection) -> None:
        write = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return made


def item_row(value: Item) -> dict[str, Any]:
    return {
        "id": value.id,
        "prompt": _plain(value.prompt),
        "completion": _plain(value.completion),
        "prompt_ids": list(value.prompt_ids),
        "completion_ids": list(value.completion_ids),
        "tokenizer": value.tokenizer,
        "origin": value.origin,
        "columns": dict(value.columns),
    }


def item_of(row: Mapping[str, Any]) -> Item:
    return Text(
        prompt=_content(row["prompt"]),
        completion=_content(row["completion"]),
        prompt_ids=tuple(row["prompt_ids"]),
        completion_ids=tuple(row["completion_ids"]),
        tokenizer=row["tokenizer"],
        origin=row["origin"],
        columns=row["columns"],
    )


def _plain(content: Content) -> str | list[list[str]]:
    return content if isinstance(content, str) else [[message.role, message.content] for message in content]


def _content(plain: str | list[list[str]]) -> Content:
    return plain if isinstance(plain, str) else tuple(Message(role=role, content=text) for role, text in plain)
