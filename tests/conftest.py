import os
from collections.abc import Generator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of data sets for tests; skips where there is none."""
    root = Path(__file__).parents[1]
    place = (root / os.environ.get("TERCIH_DATA", "../shared/data")).resolve()
    if not place.is_dir():
        pytest.skip(f"no data sets at {place}; set TERCIH_DATA to the folder that holds them")
    return place


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a test that skips is a failure, unless it may: it needs a GPU, a network or data that are not there."""
    report = yield
    may_skip = any(item.get_closest_marker(name) for name in ("gpu", "network", "data"))
    if report.skipped and os.environ.get("CI") and not may_skip and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where nothing is missing: {report.longrepr}"
    return report
