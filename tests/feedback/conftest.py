from collections.abc import Iterator

import pytest

from tercih.feedback.database import Database


@pytest.fixture
def database(anywhere: str) -> Iterator[Database]:
    with Database(anywhere) as made:
        yield made
