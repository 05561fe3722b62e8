import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import sqlalchemy as sa

from tercih.feedback import webhooks
from tercih.feedback.database import Database
from tercih.feedback.projects import Project, ProjectError, make_project
from tercih.feedback.tables import event, fit
from tercih.feedback.webhooks import HOLD, Webhooks, check_address, signature

SECRET = "s" * 32


class Listener(BaseHTTPRequestHandler):
    got: list[tuple[int, str, bytes]]
    answers: list[int]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append((int(self.headers["X-Tercih-Event"]), self.headers["X-Tercih-Signature"], body))
        self.send_response(self.answers.pop(0) if self.answers else 204)
        self.send_header("Location", "http://127.0.0.1:1/")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    Listener.got, Listener.answers = [], []
    with ThreadingHTTPServer(("127.0.0.1", 0), Listener) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/hook?x=1"
        server.shutdown()


@pytest.fixture
def database(anywhere: str, address: str) -> Iterator[Database]:
    """On SQLite, and on PostgreSQL."""
    with Database(anywhere) as made:
        make_project(made, Project(id="p", webhook=address))
        make_project(made, Project(id="quiet"))
        yield made


def happen(database: Database, *kinds: str, project: str = "p") -> None:
    with database.transaction(write=True) as connection:
        for kind in kinds:
            connection.execute(
                event.insert().values(time=1.0, kind=kind, project=project, rater="ann", payload={"x": "ü"})
            )


class Time:
    at = 1000.0

    def __call__(self) -> float:
        return self.at


def hooks(database: Database, now: Any = None, **rest: Any) -> Webhooks:
    return Webhooks(database=database, secret=SECRET, now=now or Time(), **{"private": True} | rest)


def test_every_answer_is_told_once_in_order_and_signed(database: Database) -> None:
    happen(database, "answer", "skip", "edit", "expire")
    happen(database, "answer", project="quiet")
    assert hooks(database).round() == 2
    assert hooks(database).round() == 0
    happen(database, "undo")
    assert hooks(database).round() == 1
    assert [number for number, _, _ in Listener.got] == [1, 3, 6]
    for _, signed, body in Listener.got:
        assert signed == signature(SECRET, body)
    assert json.loads(Listener.got[0][2]) == {
        "id": 1, "time": 1.0, "kind": "answer", "rater": "ann", "project": "p", "payload": {"x": "ü"},
    }  # fmt: skip


def test_failures_wait_longer_and_longer_and_lose_none(database: Database) -> None:
    happen(database, "answer", "answer")
    now = Time()
    Listener.answers = [500, 302, 204, 503]
    told = hooks(database, now)
    delivered = []
    for at in (1000, 1004, 1005.1, 1014, 1015.2, 1020.3):
        now.at = at
        delivered.append(told.round())
    assert delivered == [0, 0, 0, 0, 1, 1]  # tried at 1000, 1005, 1015 (then one, and a failure), and 1020
    assert [number for number, _, _ in Listener.got] == [1, 1, 1, 2, 2]
    with database.transaction() as connection:
        assert connection.execute(sa.select(fit.c.events, fit.c.result)).one() == (2, {})


def test_a_crash_after_the_post_tells_it_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    happen(database, "answer")
    now = Time()
    with monkeypatch.context() as broken:
        broken.setattr(Webhooks, "_keep", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            hooks(database, now).round()
    assert hooks(database, now).round() == 0  # for all that others know it is still at work
    now.at += HOLD
    assert hooks(database, now).round() == 1
    assert [number for number, _, _ in Listener.got] == [1, 1]


def test_several_workers_tell_every_event_once_and_in_order(anywhere: str, database: Database) -> None:
    numbers, stop = 40, threading.Event()
    others = [Database(anywhere) for _ in range(3)]
    threads = [threading.Thread(target=hooks(each, time.time).follow, args=(stop, 0.01)) for each in others]
    for thread in threads:
        thread.start()
    for _ in range(numbers):
        happen(database, "answer")
    until = time.time() + 30
    while len(Listener.got) < numbers and time.time() < until:
        time.sleep(0.05)
    stop.set()
    for thread, each in zip(threads, others, strict=True):
        thread.join(20)
        assert not thread.is_alive()
        each.close()
    assert [number for number, _, _ in Listener.got] == list(range(1, numbers + 1))


def test_private_networks_are_not_reached(database: Database) -> None:
    happen(database, "answer")
    assert hooks(database, private=False).round() == 0
    assert Listener.got == []
    with database.transaction() as connection:
        assert "private network" in connection.scalar(sa.select(fit.c.result))["error"]  # type: ignore[index]


@pytest.mark.parametrize(
    "ip", ["127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "0.0.0.0", "::1", "fe80::1%eth0", "fd00::1",
           "::ffff:10.0.0.1", "2002:7f00:1::", "224.0.0.1", "100.64.0.1"],
)  # fmt: skip
def test_addresses_that_are_not_public(ip: str) -> None:
    assert not webhooks._public(ip)
    assert webhooks._public("93.184.215.14")
    assert webhooks._public("2606:2800:21f:cb07:6820:80da:af6b:8b2c")


@pytest.mark.parametrize(
    "address",
    ["ftp://x", "file:///etc/passwd", "http://", "http://u:p@x/", "x", "http://x:port/", "http://x/a b", "http://[x"],
)
def test_addresses_that_cannot_be(address: str) -> None:
    with pytest.raises(ProjectError, match=r"project\.webhook"):
        check_address(address)


def test_a_short_secret_is_refused(database: Database) -> None:
    with pytest.raises(ValueError, match="at least 16"):
        Webhooks(database=database, secret="short")


def test_following_stops_when_told(database: Database) -> None:
    happen(database, "answer")
    stop = threading.Event()
    thread = threading.Thread(target=hooks(database).follow, args=(stop, 0.01))
    thread.start()
    while not Listener.got:
        pass
    stop.set()
    thread.join(5)
    assert not thread.is_alive()


@pytest.mark.parametrize("dead", ["http://" + "a" * 70 + ".example/", "file:///x", "http://127.0.0.1:1/"])
def test_one_that_cannot_be_reached_does_not_stop_the_others(database: Database, dead: str) -> None:
    make_project(database, Project(id="a", webhook=dead))
    happen(database, "answer", project="a")
    happen(database, "answer")
    assert hooks(database).round() == 1
    assert len(Listener.got) == 1
