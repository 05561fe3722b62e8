import glob
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of data sets for tests; skips where there is none."""
    root = Path(__file__).parents[1]
    place = (root / os.environ.get("TERCIH_DATA", "../shared/data")).resolve()
    if not place.is_dir():
        pytest.skip(f"no data sets at {place}; set TERCIH_DATA to the folder that holds them")
    return place


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server that lives as long as the tests, listening on a socket alone."""
    found = [*glob.glob("/usr/lib/postgresql/*/bin"), os.path.dirname(shutil.which("pg_ctl") or "")]
    programs = next((Path(each) for each in found if each and (Path(each) / "pg_ctl").exists()), None)
    if programs is None:
        pytest.skip("there is no PostgreSQL here; apt-get install postgresql")
    pytest.importorskip("psycopg")
    folder = Path(tempfile.mkdtemp(prefix="tercih-postgres-"))
    as_user = []
    if os.geteuid() == 0:  # which PostgreSQL refuses to run as
        shutil.chown(folder, "postgres", "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]

    def call(*words: object) -> None:
        subprocess.run([*as_user, *map(str, words)], check=True, stdout=subprocess.DEVNULL, cwd="/")

    call(programs / "initdb", "-D", folder / "data", "-U", "tercih", "-A", "trust", "--no-sync")
    options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"
    call(programs / "pg_ctl", "-D", folder / "data", "-w", "-l", folder / "log", "-o", options, "start")
    try:
        yield f"postgresql+psycopg://tercih@/postgres?host={folder}"
    finally:
        call(programs / "pg_ctl", "-D", folder / "data", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A new, empty database of either kind."""
    if request.param == "sqlite":
        yield str(tmp_path / "s.db")
        return
    server: str = request.getfixturevalue("postgres")
    name = f"t{uuid.uuid4().hex}"
    with sa.create_engine(server, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    yield server.replace("/postgres?", f"/{name}?")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a test that skips is a failure, unless it may: it needs a GPU, a network, data or
    peers that are not there."""
    report = yield
    may_skip = any(item.get_closest_marker(name) for name in ("gpu", "network", "data", "peers"))
    if report.skipped and os.environ.get("CI") and not may_skip and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where nothing is missing: {report.longrepr}"
    return report
