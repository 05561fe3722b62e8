"""Who gets in, and where: every page for every role, forged and stolen requests, guesses at passwords."""

import re
import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from tercih.feedback import tables
from tercih.feedback.web import accounts, app, languages
from tercih.feedback.web.accounts import ranks
from tercih.feedback.web.visits import COOKIE

from .conftest import PASSWORD, Browser, World, text

PLACES = {
    "{project}": "p", "{secret}": "none", "{seat:int}": "1", "{place:int}": "0", "{rater}": "nobody", "{question}": "x",
    "{chat}": "none",
    "{act:int}": "1",
    "{key}": "x",
}  # fmt: skip


def address(path: str) -> str:
    for name, value in PLACES.items():
        path = path.replace(name, value)
    return path


@pytest.mark.parametrize("who", ["stranger", "ann", "lead", "admin"])
def test_every_page_for_every_role(world: World, who: str) -> None:
    browser: Browser = world.stranger() if who == "stranger" else getattr(world, who)
    role = {"stranger": "", "ann": "rater"}.get(who, who)
    for entry in app.PAGES:
        if browser.who:  # one of the pages signs them out
            browser.client.cookies.set(COOKIE, accounts.open_session(world.database, browser.who))
        browser.get("/login" if who == "stranger" else "/")
        data = {"csrf": browser.csrf, "role": "rater"} if entry.method == "POST" else None
        answer = browser.client.request(entry.method, address(entry.path), data=data, follow_redirects=False)
        if entry.role is None or ranks(role, entry.role):
            assert answer.status_code < 500, entry
            assert answer.status_code != 403, entry
        elif role == "" and entry.method == "GET":
            assert (answer.status_code, answer.headers["location"]) == (303, "/login"), entry
        else:
            assert answer.status_code == 403, entry
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_every_change_needs_the_token_of_this_session(world: World) -> None:
    world.bob.get("/")
    with world.database.transaction() as connection:
        before = connection.scalar(sa.select(sa.func.count()).select_from(tables.event))
    for entry in app.PAGES:
        for token in ("", "wrong", "é", world.bob.csrf):
            if entry.method == "POST":
                answer = world.admin.client.post(address(entry.path), data={"csrf": token}, follow_redirects=False)
                assert answer.status_code == 403, entry
    with world.database.transaction() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(tables.event)) == before


@pytest.mark.parametrize(
    "headers", [{"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}]
)
def test_another_site_cannot_sign_anybody_in(world: World, headers: dict[str, str]) -> None:
    fields = {"login": "ann@x", "password": PASSWORD}
    assert TestClient(world.app).post("/login", data=fields, headers=headers).status_code == 403
    assert TestClient(world.app).post("/login", data=fields).status_code == 200


def test_sessions(world: World) -> None:
    client = world.ann.client
    cookie = client.cookies[COOKIE]
    stored = world.scalar(sa.select(tables.session.c.digest).where(tables.session.c.rater == world.ann.who))
    assert stored == accounts.digest(cookie)
    for forged in ("x" * 43, stored, cookie[:-1], ""):
        other = TestClient(world.app, cookies={COOKIE: forged})
        assert other.get("/", follow_redirects=False).status_code == 303
    world.ann.get("/")
    world.ann.post("/logout")
    assert TestClient(world.app, cookies={COOKIE: cookie}).get("/", follow_redirects=False).status_code == 303


def test_the_cookie_is_kept_from_scripts_and_other_sites(world: World) -> None:
    for base, secure in (("http://testserver", False), ("https://testserver", True)):
        client = TestClient(world.app, base_url=base)
        fields = {"login": "ann@x", "password": PASSWORD}
        answer = client.post("/login", data=fields, follow_redirects=False)
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        assert ("secure" in cookie) == secure


def test_wrong_passwords_are_counted(world: World) -> None:
    browser = world.stranger()
    for at in range(8):
        browser.get("/login")
        browser.post("/login", 422, login="ANN@X" + " " * at, password="wrong")
        assert "Login name or password is wrong." in browser.html
    browser.post("/login", 429, login="ann@x ", password=PASSWORD)
    browser.post("/login", login="bob@x", password=PASSWORD)
    world.stranger().post("/login", 422, login="who@x", password="wrong")


def test_an_invitation_is_good_once(world: World) -> None:
    world.admin.get("/people")
    world.admin.post("/people/invite", role="lead", stratum="north")
    link = re.search(r"http://testserver(/join/[\w-]+)", world.admin.html)
    assert link
    browser = world.stranger()
    browser.get(link[1])
    browser.post(link[1], 422, login="new@x", password="short")
    browser.post(link[1], 422, login="ann@x", password=PASSWORD)
    browser.post(link[1], login="new@x", password=PASSWORD)
    assert browser.get("/lead")
    world.stranger().get(link[1], 410)
    world.bob.get("/")
    world.bob.post(link[1], 410, login="other@x", password=PASSWORD)
    assert link[1] not in world.admin.get("/people")
    assert world.scalar(sa.select(tables.rater.c.stratum).where(tables.rater.c.role == "lead").order_by(
        tables.rater.c.created.desc()).limit(1)) == "north"  # fmt: skip


def test_a_lead_invites_and_pauses_raters_alone(world: World) -> None:
    world.lead.get("/people")
    world.lead.post("/people/invite", 403, role="admin")
    world.lead.get("/people")
    world.lead.post("/people/invite", role="rater")
    assert "ann@x" not in world.lead.get("/people")
    assert "ann@x" in world.admin.get("/people")
    world.lead.post(f"/people/{world.admin.who}/state", 403, state="paused")
    world.lead.get("/people")
    world.lead.post(f"/people/{world.ann.who}/state", state="paused")
    world.ask([text("a"), text("b")])
    assert "Your account is paused" in world.ann.get("/projects/p/label", 403)
    world.lead.get("/people")
    world.lead.post(f"/people/{world.ann.who}/state", state="active")
    assert world.ann.label()


def test_roles_change_at_once(world: World) -> None:
    world.ann.get("/lead", 403)
    world.admin.get("/people")
    world.admin.post(f"/people/{world.ann.who}/role", role="lead")
    world.ann.get("/lead")
    world.admin.get("/people")
    world.admin.post(f"/people/{world.admin.who}/role", 422, role="rater")


def test_erasure_keeps_what_was_said_and_nothing_of_who_said_it(world: World) -> None:
    key = world.ask([text("a"), text("b")])
    world.ann.label()
    world.ann.say(say="left")
    world.admin.get("/people")
    world.admin.post(f"/people/{world.ann.who}/erase", 422, sure="yes")
    world.admin.get("/people")
    world.admin.post(f"/people/{world.ann.who}/erase", sure=world.ann.who)
    assert world.answer(key, world.ann.who) is not None
    with world.database.transaction() as connection:
        row = connection.execute(sa.select(tables.rater).where(tables.rater.c.id == world.ann.who)).one()
        everything = " ".join(
            str(connection.execute(sa.select(table)).all()) for table in tables.metadata.sorted_tables
        )
    assert (row.state, row.stratum) == ("erased", None)
    assert "ann@x" not in everything
    assert world.ann.client.get("/", follow_redirects=False).status_code == 303
    world.stranger().post("/login", 422, login="ann@x", password=PASSWORD)


def test_the_first_admin(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert accounts.first_admin(world.database) is None
    with world.database.transaction(write=True) as connection:
        connection.execute(sa.update(tables.rater).where(tables.rater.c.role == "admin").values(role="rater"))
    first, second = accounts.first_admin(world.database), accounts.first_admin(world.database)
    assert first is not None
    assert second is not None
    assert not accounts.is_open(world.database, first)
    assert accounts.is_open(world.database, second)


def test_bodies_are_bounded(world: World) -> None:
    world.ann.get("/")
    world.ann.post("/language", 413, language="x" * (2 << 20))


@pytest.mark.parametrize("place", ["/nothing", "/projects/none/label", "/static/none.js", "/static/../app.py"])
def test_unknown_addresses(world: World, place: str) -> None:
    assert "Traceback" not in world.ann.get(place, 404)


def test_methods(world: World) -> None:
    assert world.ann.client.delete("/").status_code == 405


def test_nothing_leaks_when_the_database_fails(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> None:
        raise RuntimeError("postgresql://user:secret@host")

    monkeypatch.setattr(accounts, "set_language", broken)
    world.ann.get("/")
    html = world.ann.post("/language", 500, language="tr")
    assert "secret" not in html


@pytest.mark.parametrize("back", ["//evil.example", "https://evil.example", "/\\evil.example", "/\nx", "javascript:x"])
def test_the_language_switch_leads_nowhere_else(world: World, back: str) -> None:
    world.ann.get("/")
    fields = {"csrf": world.ann.csrf, "language": "tr", "back": back}
    answer = world.ann.client.post("/language", data=fields, follow_redirects=False)
    assert answer.headers["location"] == "/"


def test_languages_by_browser_then_cookie_then_account(world: World) -> None:
    client = TestClient(world.app)
    assert '<html lang="zh-Hant">' in client.get("/login", headers={"accept-language": "zh-TW,en;q=0.5"}).text
    assert '<html lang="tr">' in client.get("/login", headers={"accept-language": "de,tr;q=0.9,en;q=0.8"}).text
    client.post("/language", data={"language": "zh-Hans", "back": "/login"})
    assert '<html lang="zh-Hans">' in client.get("/login", headers={"accept-language": "en"}).text
    world.ann.get("/")
    world.ann.post("/language", language="tr", back="/")
    assert "Projeler" in world.ann.html
    again = world.stranger()
    again.post("/login", login="ann@x", password=PASSWORD)
    assert "Projeler" in again.html
    world.ann.post("/language", 422, language="xx")


@pytest.mark.parametrize(
    ("accept", "language"),
    [("", "en"), ("fr", "en"), ("zh-Hant-HK", "zh-Hant"), ("zh", "zh-Hans"), ("en;q=x, tr", "tr"), (";q=,,", "en")],
)
def test_what_a_browser_asks_for(accept: str, language: str) -> None:
    assert languages.preferred(accept) == language


def test_a_key_in_a_form_must_be_one(world: World) -> None:
    world.ann.get("/")
    world.ann.post("/projects/p/undo", 422, key="1")
    world.ann.get("/")
    world.ann.post("/projects/p/undo", key=uuid.uuid4().hex)
