"""Training waits for people's answers on a real server, and no longer than for those that may still come."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from tercih.agents.clips import Excerpt
from tercih.agents.preferences import Query
from tercih.commands.serve import keeper_of
from tercih.data.steps import Steps
from tercih.environments.worlds import Worlds
from tercih.feedback.client import Client
from tercih.feedback.database import Database
from tercih.feedback.store import Store
from tercih.feedback.web.api import api
from tercih.feedback.web.keys import make_key
from tercih.recipes.ask_live import LivePeople
from tercih.recipes.clip_answers import PeopleAnswers
from tercih.recipes.people import People

from .test_ask_live import steps

FIRST, TIE, NOTHING = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, 0.0)


@dataclass
class Seen:
    """In the place of an excerpt of a rollout."""

    number: int

    def acted(self, worlds: Worlds) -> Steps:
        return steps(self.number)


def query(index: int) -> Query:
    first, second = (cast(Excerpt, Seen(2 * index + side)) for side in (0, 1))
    return Query(key=(0, index), first=first, second=second, sampler="random", propensity=1.0)


@dataclass
class Office:
    """A server, the lead's client and a rater's, and people who are asked by it."""

    address: str
    lead: Client
    ann: Client
    folder: Path

    def answers(self, ahead: int) -> PeopleAnswers:
        people = People(server=self.address, name="run", votes=1, every=0.02)
        live = LivePeople(people=people, folder=self.folder, settings={"repeats": 0.0, "golds": 0.0})
        return PeopleAnswers(live, cast(Worlds, None), ahead=ahead)

    def say(self, answer: dict[str, Any]) -> str:
        """The question that was answered so."""
        seat = self.ann.claim("run")
        assert seat
        self.ann.submit(seat["id"], answer)
        return str(seat["question"])


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    with Database(tmp_path / "s.db", durable=False) as database:
        for name in ("ann", "lead"):
            Store(database).enrol(name)
        ann, lead = make_key(database, "ann", "ann", ["label"]), make_key(database, "lead", "lead", ["admin"])
        app = Starlette(routes=[Mount("/api", api(database, keep=keeper_of(tmp_path / "clips")))])
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        monkeypatch.setenv("TERCIH_API_KEY", lead)
        (tmp_path / "run").mkdir()
        clients = (Client(url=f"{address}/api", key=key) for key in (lead, ann))
        yield Office(address, *clients, folder=tmp_path / "run")
        server.should_exit = True
        thread.join()


def test_training_waits_for_what_may_still_come_and_for_nothing_else(office: Office) -> None:
    """Of five questions one is answered, one is a tie, of one the rater cannot judge, two are withdrawn."""
    answers = office.answers(ahead=0)
    answers.put([query(index) for index in range(5)])
    with ThreadPoolExecutor(1) as trainer:
        waits = trainer.submit(answers.take)
        try:
            until = time.monotonic() + 10
            while not office.lead.projects() or not office.ann.claim("run"):
                assert time.monotonic() < until
                time.sleep(0.02)
            said = {office.say({"choice": "a"}): FIRST}
            office.say({"cannot": True})
            said[office.say({"choice": "tie"})] = TIE
            left = [each["id"] for each in office.lead.questions("run", state="open")]
            assert len(left) == 2
            time.sleep(0.3)
            assert not waits.done()
            office.lead.withdraw("run", left[0])
            time.sleep(0.3)
            assert not waits.done()  # one answer is still awaited
            office.lead.withdraw("run", left[1])
            heard = waits.result(timeout=5)
        finally:
            answers.ahead = 5  # else who failed would wait for ever
    key_of = {asked: key for asked, key in answers.key_of.items() if asked in said}
    assert [(each.key, each.rater, each.target) for each in heard] == [
        (key_of[asked], "ann", target) for asked, target in said.items()
    ]
    assert answers.awaited == 0
    assert answers.live.withdrawn == set(left)
    written = answers.live.taken, answers.state_dict()
    answers.live.close()

    again = office.answers(ahead=0)  # which hears it all anew, from what was written down
    again.put([query(index) for index in range(5)])
    assert list(again.take()) == list(heard)
    assert (again.live.taken, again.state_dict()) == written
    again.live.close()

    later = office.answers(ahead=0)  # which goes on from a checkpoint
    later.load_state_dict(written[1])
    assert (later.awaited, later.live.withdrawn) == (0, set(left))
    later.live.close()


def test_an_answer_to_a_question_that_is_withdrawn_stays_and_counts_once(office: Office) -> None:
    answers = office.answers(ahead=1)
    answers.put([query(0), query(1)])
    answers.live.take()
    asked = office.say({"choice": "a"})
    office.lead.withdraw("run", asked)
    (heard,) = answers.take()
    assert (heard.key, heard.target) == (answers.key_of[asked], FIRST)
    assert answers.awaited == 1  # the other one: nothing was counted twice
    answers.live.close()
