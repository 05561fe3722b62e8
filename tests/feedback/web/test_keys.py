"""The page of keys for programs: made and shown once, used, revoked, and never more than their maker may."""

import re
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from tercih.feedback import tables
from tercih.feedback.web import accounts, keys
from tercih.feedback.web.api import api

from .conftest import Browser, World


def make(browser: Browser, name: str, *scopes: str, status: int = 200) -> str:
    browser.get("/keys")
    html = browser.post("/keys", status, name=name, **{f"scope_{scope}": "on" for scope in scopes})
    found = re.search(r"tercih_[\w-]+", html)
    return found[0] if found else ""


def ask(world: World, key: str, method: str = "GET", place: str = "/projects", **rest: Any) -> int:
    client = TestClient(api(world.database), raise_server_exceptions=False)
    return client.request(method, place, headers={"authorization": f"Bearer {key}"}, **rest).status_code


def revoke_of(html: str) -> list[str]:
    return re.findall(r'action="(/keys/\w+/revoke)"', html)


def test_an_admins_key_is_a_programs_and_is_shown_once(world: World) -> None:
    key = make(world.admin, "night-run", "read", "write")
    assert ask(world, key) == 200
    assert ask(world, key, "POST", "/projects", json={"id": "q"}) == 403
    html = world.admin.get("/keys")
    assert key not in html
    assert keys.digest(key) in html  # by which it is revoked
    assert "night-run" in html
    program = sa.select(tables.rater.c.role).where(tables.rater.c.id == "night-run")
    assert world.scalar(program) == "service"
    assert "&quot;name&quot;: &quot;night-run&quot;" in world.admin.get("/log?kind=key").replace("&#34;", "&quot;")
    world.admin.get("/keys")
    world.admin.post(revoke_of(html)[0])
    assert "Revoked" in world.admin.html
    assert ask(world, key) == 401
    world.admin.post(revoke_of(html)[0], 404)


def test_a_leads_key_is_the_leads_own(world: World) -> None:
    key = make(world.lead, "laptop", "read")
    assert world.scalar(sa.select(tables.api_key.c.rater)) == world.lead.who
    assert make(world.lead, "laptop", "admin", status=403) == ""
    assert "scope_admin" not in world.lead.get("/keys")
    make(world.admin, "night-run", "admin")
    foreign = [place for place in revoke_of(world.admin.get("/keys")) if keys.digest(key) not in place]
    assert "night-run" not in world.lead.get("/keys")
    world.lead.post(foreign[0], 404)
    assert revoke_of(world.lead.get("/keys")) == [f"/keys/{keys.digest(key)}/revoke"]
    world.ann.get("/keys", 403)


def test_keys_go_with_the_role_and_with_the_account(world: World) -> None:
    key = make(world.lead, "laptop", "read")
    accounts.set_role(world.database, world.lead.who, "admin", world.admin.who)
    assert ask(world, key) == 200
    more = make(world.lead, "laptop", "admin")  # of a program
    accounts.set_role(world.database, world.lead.who, "rater", world.admin.who)
    assert ask(world, key) == 401
    assert ask(world, more) == 200
    accounts.set_role(world.database, world.lead.who, "lead", world.admin.who)
    key = make(world.lead, "laptop", "read")
    accounts.erase(world.database, world.lead.who, world.admin.who)
    assert ask(world, key) == 401


@pytest.mark.parametrize(
    ("name", "scopes", "sentence"),
    [
        ("run", [], "Tick at least one"),
        ("", ["read"], "The name of a program has"),
        ("a run", ["read"], "The name of a program has"),
        ("simulated-ann", ["read"], "The name of a program has"),
        ("x" * 65, ["read"], "The name of a program has"),
    ],
)
def test_a_key_that_cannot_be(world: World, name: str, scopes: list[str], sentence: str) -> None:
    assert make(world.admin, name, *scopes, status=422) == ""
    assert sentence in world.admin.html
    assert world.scalar(sa.select(sa.func.count()).select_from(tables.api_key)) == 0


def test_a_program_cannot_take_a_raters_name(world: World) -> None:
    assert make(world.admin, world.ann.who, "label", status=422) == ""
    assert "the name of a rater" in world.admin.html


def test_the_last_use_is_written_down_now_and_then(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    key, used = make(world.admin, "run", "read"), sa.select(tables.api_key.c.used)
    assert "never" in world.admin.get("/keys")
    now = [1_000_000_000.0]
    monkeypatch.setattr(keys.clock, "time", lambda: now[0])
    seen = []
    for later in (0.0, 599.0, 2.0):
        now[0] += later
        assert ask(world, key) == 200
        seen.append(world.scalar(used))
    assert seen == [1_000_000_000.0, 1_000_000_000.0, 1_000_000_601.0]
    monkeypatch.undo()
    assert "2001-09-09 01:56:41 UTC" in world.admin.get("/keys")
