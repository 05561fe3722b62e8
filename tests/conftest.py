import os
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
