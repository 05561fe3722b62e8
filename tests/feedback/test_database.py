"""Opening a store: made, brought up to date, or refused, on both databases."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Timer

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from tercih.feedback import tables
from tercih.feedback.database import MIGRATIONS, Database, StoreError, engine


def migrate(anywhere: str) -> None:
    made = engine(anywhere if "://" in anywhere else f"sqlite:///{anywhere}")
    with made.execution_options(write=True).begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    made.dispose()


def test_migrations_lead_to_the_tables_of_the_code(anywhere: str) -> None:
    migrate(anywhere)
    with Database(anywhere) as database, database.transaction() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
        checks = {
            check["name"]
            for name in tables.metadata.tables
            for check in sa.inspect(connection).get_check_constraints(name)
        }
        assert {"no_more_raters_than_wanted", "answers_come_from_seats", "no_more_than_the_quota"} <= checks


def test_the_newest_migration_is_the_head() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [tables.HEAD]


def test_many_servers_may_start_at_once(anywhere: str) -> None:
    def start(_: int) -> int:
        with Database(anywhere) as database, database.transaction() as connection:
            return int(connection.scalar(sa.text("SELECT count(*) FROM alembic_version")) or 0)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(start, range(8))) == [1] * 8


def test_a_new_file_that_another_server_is_making_is_waited_for(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x.db", check_same_thread=False, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # SQLite would refuse who changes the log meanwhile at once
        release = Timer(0.3, lambda: other.execute("COMMIT"))
        release.start()
        with Database(tmp_path / "x.db") as database, database.transaction() as connection:
            assert connection.scalar(sa.text("PRAGMA journal_mode")) == "wal"
        release.join()


def test_a_database_of_a_newer_program_is_refused_and_left_alone(anywhere: str) -> None:
    with Database(anywhere) as database, database.transaction(write=True) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="schema 9999, which is newer than this program's"):
        Database(anywhere)


def test_somebody_elses_database_is_refused(tmp_path: Path) -> None:
    with sa.create_engine(f"sqlite:///{tmp_path / 'x.db'}").begin() as connection:
        connection.execute(sa.text("CREATE TABLE cats (name TEXT)"))
    with pytest.raises(StoreError, match=r"holds other tables than Tercih's \(cats"):
        Database(tmp_path / "x.db")


def test_errors_do_not_tell_the_password() -> None:
    with pytest.raises(StoreError, match="start PostgreSQL there, or mend the URL") as refused:
        Database("postgresql://me:secret@127.0.0.1:1/nothing?connect_timeout=2")
    assert "secret" not in str(refused.value)
