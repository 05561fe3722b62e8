"""One database under everything people do: an SQLite file, or PostgreSQL by URL."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, StatementError

from tercih.feedback import tables

BUSY_SECONDS = 30.0  # how long a writer waits for another one
DEEPEST = 12  # levels of a JSON value
WIDEST = 2**53  # whole numbers that JSON carries exactly
MIGRATIONS = Path(__file__).parent / "migrations"
version = sa.table("alembic_version", sa.column("version_num", sa.String))


class StoreError(RuntimeError):
    """The store cannot do what was asked; the message says why and what to do."""


class Database:
    """Connections and transactions; makes the tables where there are none, and brings older ones up to date.

    `place` is the path of an SQLite file (made if it is missing) or a database URL. With `durable` an answer is on the
    disk before it is acknowledged; without, it outlives the process but perhaps not a loss of power, and SQLite takes
    several times as many a second. Raises `StoreError` when it cannot be opened, or is newer than this program.
    """

    def __init__(self, place: str | Path, *, durable: bool = True) -> None:
        url = str(place) if "://" in str(place) else f"sqlite:///{place}"
        try:
            self.engine = engine(url, durable=durable)
        except (sa.exc.ArgumentError, ModuleNotFoundError) as error:
            hint = '; pip install "tercih[postgres]"' if "psycopg" in str(error) else ""
            raise StoreError(f"{place} is no usable database URL: {error}{hint}") from None
        self.place = str(place) if "://" not in str(place) else self.engine.url.render_as_string(hide_password=True)
        self.driver: Any = self.engine.dialect.dbapi
        self.reading = self.engine.execution_options(write=False)
        self.writing = self.engine.execution_options(write=True)
        try:
            self._open()
        except StoreError:
            self.close()
            raise

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database; nothing is pending."""
        self.engine.dispose()

    @contextmanager
    def transaction(self, write: bool = False) -> Iterator[sa.Connection]:
        """A connection whose work is kept if the block ends well; the database's refusals become `StoreError`."""
        try:
            with (self.writing if write else self.reading).begin() as connection:
                yield connection
        except sa.exc.IntegrityError:
            raise
        except DatabaseError as error:
            raise StoreError(f"{self.place}: {error.orig}{_mend(str(error.orig))}") from error
        except StatementError as error:  # what was to be stored is not JSON
            raise StoreError(f"{self.place} can store only JSON values in an item's columns: {error.orig}") from error
        except self.driver.IntegrityError as error:  # of a prepared statement
            raise sa.exc.IntegrityError(None, None, error) from error
        except self.driver.Error as error:
            raise StoreError(f"{self.place}: {error}{_mend(str(error))}") from error

    def _open(self) -> None:
        with self.transaction() as connection:
            found = self._version(connection)
        if found == tables.HEAD:
            return
        with self.transaction(write=True) as connection:
            if connection.dialect.name == "postgresql":  # several servers may start at once
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(7_302_841)))
            found = self._version(connection)
            if found is None:
                tables.metadata.create_all(connection)
                connection.execute(
                    sa.text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
                )
                connection.execute(version.insert().values(version_num=tables.HEAD))
            elif found != tables.HEAD:
                self._migrate(connection, found)

    def _version(self, connection: sa.Connection) -> str | None:
        names = sa.inspect(connection).get_table_names()
        if "alembic_version" in names:
            return str(connection.scalar(sa.select(version.c.version_num)))
        if names:
            raise StoreError(f"{self.place} holds other tables than Tercih's ({', '.join(sorted(names)[:3])}, …)")
        return None

    def _migrate(self, connection: sa.Connection, found: str) -> None:
        """Alembic is imported only where it is needed: it costs a start a third of a second."""
        from alembic import command
        from alembic.config import Config
        from alembic.script import ScriptDirectory

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        known = {revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()}
        if found not in known:
            raise StoreError(
                f"{self.place} has schema {found}, which is newer than this program's {tables.HEAD};"
                " open it with the version of tercih that wrote it, or a newer one"
            )
        command.upgrade(config, tables.HEAD)


def engine(url: str, *, durable: bool = True) -> sa.Engine:
    """On SQLite with write-ahead log, foreign keys, and writers that queue instead of failing.

    Transactions begin IMMEDIATE where the connection has the execution option `write`: a transaction that reads first
    and writes later would be refused at once, whatever the time-out.
    """
    if url.startswith(("postgresql://", "postgres://")):
        url = "postgresql+psycopg://" + url.split("://", 1)[1]
    made = sa.create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
    if made.dialect.name != "sqlite":
        return made

    @sa.event.listens_for(made, "connect")
    def _(connection: sqlite3.Connection, record: object) -> None:
        connection.isolation_level = None  # SQLAlchemy's BEGIN below, not the driver's
        flush = "FULL" if durable else "NORMAL"
        connection.execute(f"PRAGMA busy_timeout={int(BUSY_SECONDS * 1000)}")
        _write_ahead(connection)
        connection.execute(f"PRAGMA synchronous={flush}")
        # a write-ahead log of 64 MB: the same pages are written back once instead of many times
        for pragma in ("foreign_keys=ON", "wal_autocheckpoint=16000", "cache_size=-65536"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(made, "begin")
    def _(connection: sa.Connection) -> None:
        write = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return made


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Turn the write-ahead log on; for this alone SQLite has no patience of its own while another connection writes."""
    patience = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as refused:
            if "locked" not in str(refused) or time.monotonic() > patience:
                raise
            time.sleep(0.01)


def _mend(reason: str) -> str:
    """What to do about a database's refusal, where it is one that users meet."""
    known = {
        "locked": "another program is holding it; close that program, or wait and try again",
        "readonly": "make the file and its folder writable, or work on a copy",
        "unable to open": "make the folder that is to hold it, and see that it is writable",
        "not a database": "give the path of a store, or of a new file",
        "malformed": "the file is damaged; restore it from a copy",
        "full": "make room on the disk; nothing of this call was kept",
        "onnection refused": "start PostgreSQL there, or mend the URL",
        "authentication failed": "mend the user and password of the URL",
    }
    return next((f"; {mend}" for sign, mend in known.items() if sign in reason), "")


def sane(value: Any, depth: int = 0) -> Any:
    """A JSON value that any database can keep. Raises ValueError."""
    if depth > DEEPEST:
        raise ValueError(f"JSON may be {DEEPEST} levels deep")
    if isinstance(value, dict):
        for name, inner in value.items():
            sane(name, depth)
            sane(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            sane(inner, depth + 1)
    elif isinstance(value, str):
        if "\0" in value or any("\ud800" <= sign <= "\udfff" for sign in value):
            raise ValueError("text must not hold NUL or half a surrogate pair")
    elif isinstance(value, int | float) and not abs(value) <= WIDEST and (isinstance(value, int) or value - value != 0):
        raise ValueError("numbers must be finite, and whole ones below 2**53")
    return value
