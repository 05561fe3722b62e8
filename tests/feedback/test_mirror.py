"""What people said on a server, copied into a run's own store."""

import pytest

from tercih.feedback.database import Database
from tercih.feedback.mirror import receive, received
from tercih.feedback.questions import Question
from tercih.feedback.store import Store
from tercih.records import Text


def question(index: int) -> Question:
    a, b = (Text(prompt="q", completion=f"{index} {side}") for side in "ab")
    return Question(items=(a, b), run="r", step=0, index=index)


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)


def event(number: int, kind: str, rater: str, asked: Question, choice: str = "a") -> dict[str, object]:
    payload = {
        "question": asked.id,
        "answer": {"choice": choice, "strength": 1.0},
        "shown": {"order": [1, 0]},
        "seconds": 2.0,
    }
    return {"id": number, "kind": kind, "rater": rater, "time": 10.0 + number, "payload": payload}


def test_what_people_said_elsewhere_is_received_once(store: Store) -> None:
    one, two = question(0), question(1)
    store.ask([one, two])
    log = [
        event(3, "answer", "zoe", one),
        event(5, "answer", "kim", one, "b"),
        event(6, "skip", "kim", two),
        event(8, "edit", "zoe", one, "tie"),
        event(9, "answer", "zoe", two),
        event(11, "undo", "zoe", two),
        event(12, "answer", "zoe", question(7), "b"),  # of another run
    ]
    assert receive(store.database, "r", log[:2]) == 2
    assert received(store.database, "r") == 5
    assert receive(store.database, "r", log) == 2
    assert receive(store.database, "r", log) == 2
    assert received(store.database, "r") == 12
    assert sorted((c.rater, c.answer, c.left) for c in store.comparisons("r")) == [
        ("kim", "b", "b"),
        ("zoe", "tie", "b"),
    ]
    assert receive(store.database, "r", [event(20, "answer", name, one) for name in ("p", "q", "s")][:1]) == 3
    assert [q.id for q in store.open_questions("r", votes=1)] == [two.id]
