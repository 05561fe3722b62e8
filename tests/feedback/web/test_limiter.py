"""Guesses are counted once for all servers of a database, and nothing else is written."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from tercih.feedback import tables
from tercih.feedback.database import Database
from tercih.feedback.tables import failure
from tercih.feedback.web.api import api
from tercih.feedback.web.app import create_app
from tercih.feedback.web.keys import make_key
from tercih.feedback.web.limiter import SECONDS, Limiter

from .conftest import PASSWORD, Browser, World, text


@pytest.fixture
def other(world: World, anywhere: str) -> Iterator[World]:
    """A second server, with connections of its own, over the same database."""
    with Database(anywhere, durable=False) as database:
        yield World(database, create_app(database), world.admin, world.lead, world.ann, world.bob)


def failures(world: World) -> int:
    return int(world.scalar(sa.select(sa.func.count()).select_from(failure)))


def test_wrong_passwords_count_for_all_servers(world: World, other: World) -> None:
    for at in range(8):
        browser = (world, other)[at % 2].stranger()
        browser.get("/login")
        browser.post("/login", 422, login="ann@x", password="wrong")
    for each in (world, other):
        each.stranger().post("/login", 429, login="ann@x", password=PASSWORD)
        each.stranger().post("/login", login="bob@x", password=PASSWORD)


def test_a_right_password_forgives_on_all(world: World, other: World) -> None:
    for at in range(14):
        if at == 7:
            other.stranger().post("/login", login="ann@x", password=PASSWORD)
        world.stranger().post("/login", 422, login="ann@x", password="wrong")
    other.stranger().post("/login", login="ann@x", password=PASSWORD)


def test_guessed_invitations_count_for_all_servers(world: World, other: World) -> None:
    for at in range(20):
        world.stranger().get(f"/join/guess{at}", 410)
        other.stranger().post(f"/join/guess{at}", 410, login="new@x", password=PASSWORD)
    for each in (world, other):
        each.stranger().get("/join/guess", 429)
        each.stranger().post("/join/guess", 429, login="new@x", password=PASSWORD)


def test_guessed_keys_count_for_all_servers_and_a_right_one_goes_on(world: World, other: World) -> None:
    key = make_key(world.database, world.lead.who, "x", ["read"])
    clients = [TestClient(api(each.database)) for each in (world, other)]

    def ask(at: int, key: str) -> int:
        return clients[at % 2].get("/projects", headers={"authorization": f"Bearer {key}"}).status_code

    assert [ask(at, "tercih_" + f"{at:030}") for at in range(40)] == [401] * 40
    before = failures(world)
    assert [ask(at, "tercih_" + f"{at:030}") for at in range(40, 44)] == [429] * 4
    assert failures(world) == before  # who is refused writes nothing
    assert [ask(at, key) for at in range(2)] == [200, 200]


def test_ordinary_pages_write_nothing(world: World) -> None:
    world.ask([text("a"), text("b")])
    browser = Browser(TestClient(world.app))
    browser.get("/login")
    browser.post("/login", login="ann@x", password=PASSWORD)
    browser.label()
    browser.say(say="left")
    browser.get("/nothing", 404)
    TestClient(api(world.database)).get("/projects")
    assert failures(world) == 0
    browser.get("/join/guess", 410)
    assert failures(world) == 1


def test_it_forgets_and_keeps_no_names(world: World) -> None:
    now = [1000.0]
    limiter = Limiter(database=world.database, kind="login", most=2, now=lambda: now[0])
    other_kind = Limiter(database=world.database, kind="address", most=2, now=lambda: now[0])
    limiter.failed("ann@x")
    limiter.failed("ann@x")
    assert not limiter.allows("ann@x")
    assert limiter.allows("bob@x")
    assert other_kind.allows("ann@x")
    with world.database.transaction() as connection:
        assert "ann@x" not in str(connection.execute(sa.select(tables.failure)).all())
    now[0] += SECONDS
    assert limiter.allows("ann@x")
    assert failures(world) == 2
    limiter.failed("bob@x")
    assert failures(world) == 1
