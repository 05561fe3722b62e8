"""Answers that come while training goes on: none lost, none twice, and the same ones again after a kill."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tercih.data.steps import Steps
from tercih.feedback.client import ApiError
from tercih.feedback.questions import Question
from tercih.feedback.store import StoreError
from tercih.recipes import ask_live
from tercih.recipes.ask_live import LivePeople
from tercih.recipes.people import People


class Server:
    """In place of a labelling server: it keeps what it is given, and its log is what the test says."""

    def __init__(self) -> None:
        self.away = False
        self.log: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.clips: list[bytes] = []

    def reach(self) -> None:
        if self.away:
            raise ConnectionError("http://nowhere cannot be reached")

    def make_project(self, name: str, **settings: Any) -> None:
        self.reach()

    def put_clip(self, content: bytes) -> None:
        self.reach()
        self.clips.append(content)

    def ask(self, project: str, questions: list[Question]) -> None:
        self.reach()
        self.asked += [each.id for each in questions]

    def events(self, project: str, after: int = 0) -> list[dict[str, Any]]:
        self.reach()
        return [each for each in self.log if each["id"] > after]

    def say(self, kind: str, question: str, choice: str = "a", rater: str = "ann", **rest: Any) -> None:
        answer = {"choice": choice, "strength": 1.0} if choice != "cannot" else {"cannot": True}
        payload = {"question": question, "answer": answer, "seconds": 2.0} | rest
        if kind == "answer":
            payload["shown"] = {"order": [1, 0]}
        row = {"id": len(self.log) + 1, "kind": kind, "rater": rater, "time": 9.0 + len(self.log), "payload": payload}
        self.log.append(row | {"project": "run"})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setenv("TERCIH_API_KEY", "x")
    monkeypatch.setattr(
        ask_live, "replace", lambda value, **rest: made if "timeout" in rest else _replace(value, **rest)
    )
    return made


_replace: Callable[..., Any] = ask_live.replace


def live(folder: Path) -> LivePeople:
    return LivePeople(people=People(server="http://nowhere", name="run", every=0.0), folder=folder)


def steps(at: int) -> Steps:
    return Steps(
        environment="CartPole-v1", actions=np.zeros(2, int), starts=np.array([0]), seeds=np.array([at]), rate=50.0,
        observations=np.full((2, 4), at), following=np.full((2, 4), at), rewards=np.ones(2),
        terminated=np.zeros(2, bool), truncated=np.zeros(2, bool),
    )  # fmt: skip


def questions(people: LivePeople, step: int, count: int = 2, shift: int = 0) -> list[Question]:
    clips = [people.keep(steps(10 * step + at + shift)) for at in range(count + 1)]
    return [Question(items=(clips[at], clips[at + 1]), run="run", step=step, index=at, votes=2) for at in range(count)]


def test_what_is_said_is_taken_once_in_its_order(server: Server, tmp_path: Path) -> None:
    people = live(tmp_path)
    server.say("project", "")
    assert people.take() == []  # there is nothing yet that anybody could have answered
    one, two = questions(people, 0)
    people.put([one, two])
    people.put([one, two])
    assert people.take() == []
    assert server.asked == [one.id, two.id]
    assert len(server.clips) == 3  # each once
    server.say("answer", two.id, "b")
    server.say("skip", one.id)
    server.say("answer", "a question of another run")
    server.say("answer", one.id, "all_bad", rater="bob")
    heard = people.take()
    assert [(each.pair, each.answer, each.rater, each.left) for each in heard] == [
        ((two.items[0].id, two.items[1].id), "b", "ann", "b"),
        ((one.items[0].id, one.items[1].id), "tie", "bob", "b"),
    ]
    assert people.take() == []
    server.say("answer", one.id, "a", rater="zoe")
    server.say("edit", two.id, "a")
    server.say("undo", one.id, "tie", rater="bob")
    server.say("answer", two.id, "cannot", rater="zoe")
    assert [(each.rater, each.answer, each.left) for each in people.take()] == [("zoe", "a", "b"), ("ann", "a", "b")]
    assert [(each.rater, each.answer) for each in people.standing.values()] == [("zoe", "a"), ("ann", "a")]
    assert people.unsure == {(two.id, "zoe")}
    mirrored = people.store.comparisons("run")
    assert sorted((each.rater, each.answer) for each in mirrored) == [("ann", "a"), ("zoe", "a")]
    people.close()


def test_a_server_that_is_away_does_not_hold_training_up(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people, server.away = live(tmp_path), True
    (one,) = questions(people, 0, 1)
    people.put([one])
    for _ in range(50):
        assert people.take() == []
    assert capsys.readouterr().out.count("training goes on") == 1
    assert people.wait == 2 * ask_live.FIRST_WAIT  # tried once, and not again so soon
    server.away = False
    server.say("answer", one.id)
    people.next_look = 0.0
    assert len(people.take()) == 1
    assert server.asked == [one.id]

    def refuse(*_: Any, **__: Any) -> None:
        raise ApiError("this key is unknown or was revoked", 401)

    server.events = refuse  # type: ignore[method-assign, assignment]
    people.next_look = 0.0
    with pytest.raises(ApiError, match="revoked"):
        people.take()
    people.close()


def test_after_a_kill_the_same_answers_come_at_the_same_calls(server: Server, tmp_path: Path) -> None:
    def trained(people: LivePeople, since: int, until: int) -> list[tuple[int, list[tuple[str, str]]]]:
        """Asks at its third and eighth call about what depends on all that it has heard."""
        told = []
        for at in range(since, until):
            heard = people.take()
            told.append((at, [(each.rater, each.answer) for each in heard]))
            if at in (3, 8):
                people.put(questions(people, at, shift=1000 * len(people.standing)))
        return told

    people = live(tmp_path)
    people.put(first := questions(people, 0))
    before = trained(people, 1, 3)
    checkpoint = people.state_dict()
    before += trained(people, 3, 5)
    server.say("answer", first[0].id)
    before += trained(people, 5, 8)
    server.say("answer", first[1].id, "b")
    before += trained(people, 8, 12)
    assert [at for at, heard in before if heard] == [5, 8]
    asked = list(server.asked)
    people.close()  # killed here; what comes meanwhile is for later
    server.say("answer", first[0].id, "b", rater="bob")
    with (tmp_path / "taken.jsonl").open("ab") as file:
        file.write(b'{"take": 12, "eve')  # in the midst of a line

    again = live(tmp_path)
    again.load_state_dict(checkpoint)
    assert trained(again, 3, 9) == [each for each in before if 3 <= each[0] < 9]  # and no question is about other clips
    assert trained(again, 9, 10) == [(9, [("bob", "b")])]
    assert set(server.asked) == set(asked)
    state = again.state_dict()
    assert state == {"taken": 9, "event": 3}
    assert [each["take"] for each in map(json.loads, (tmp_path / "taken.jsonl").read_text().splitlines())][-1] == 9
    standing = list(again.standing.values())
    again.close()

    # Elsewhere, with nobody to ask, the labels that were written down make the same run from its beginning.
    server.away = True
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "taken.jsonl").write_bytes((tmp_path / "taken.jsonl").read_bytes())
    copy = live(tmp_path / "other")
    copy.put(questions(copy, 0))
    assert trained(copy, 1, 10) == [each for each in before if each[0] < 9] + [(9, [("bob", "b")])]
    assert list(copy.standing.values()) == standing
    assert set(copy.asked) == set(server.asked)
    copy.close()

    other = live(tmp_path)
    other.load_state_dict(state)
    assert list(other.standing.values()) == standing
    assert other.take() == []
    other.close()
    lines = (tmp_path / "taken.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "taken.jsonl").write_bytes(b"".join(lines[:-2]))
    cut = live(tmp_path)
    with pytest.raises(ValueError, match=r"ends with answer 2, but the checkpoint .* up to answer 3"):
        cut.load_state_dict(state)
    cut.close()


def test_who_learns_the_same_once_more_hears_no_more_at_the_end(server: Server, tmp_path: Path) -> None:
    people = live(tmp_path)
    people.put(asked := questions(people, 0))
    assert [people.take() for _ in range(5)] == [[]] * 5
    people.end()
    people.close()
    server.say("answer", asked[0].id)
    again = live(tmp_path)
    again.put(asked)
    assert [len(again.take()) for _ in range(6)] == [0, 0, 0, 0, 0, 1]
    again.close()


def test_killed_between_writing_down_and_storing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = live(tmp_path)
    people.put(asked := questions(people, 0))
    people.take()
    server.say("answer", asked[0].id)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ask_live, "receive", killed)
        with pytest.raises(KeyboardInterrupt):
            people.take()
    people.close()
    again = live(tmp_path)
    heard = [again.take() for _ in range(4)]
    assert [len(each) for each in heard] == [0, 1, 0, 0]
    assert len(again.store.comparisons("run")) == 1
    again.close()


def test_what_cannot_be_put(server: Server, tmp_path: Path) -> None:
    people = live(tmp_path)
    people.put(questions(people, 0))
    with pytest.raises(StoreError, match="was asked about other"):
        people.put(questions(people, 0, shift=5))
    (stranger,) = questions(people, 1, 1)
    with pytest.raises(ValueError, match="questions of the run 'other' cannot be put by 'run'"):
        people.put([_replace(stranger, run="other")])
    people.close()
