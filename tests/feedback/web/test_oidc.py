"""Signing in through another service, against a stand-in for it that can do everything wrong."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit
from urllib.request import HTTPRedirectHandler, build_opener

import pytest
import sqlalchemy as sa
from joserfc.jwk import RSAKey
from starlette.testclient import TestClient

from tercih.commands.serve import OIDC_SECRET, serve
from tercih.config import ConfigError
from tercih.feedback import tables
from tercih.feedback.exchange.export import rows
from tercih.feedback.web import accounts
from tercih.feedback.web.elsewhere import BEGAN_COOKIE
from tercih.feedback.web.oidc import Issuer
from tercih.feedback.web.visits import COOKIE

from .conftest import Browser, World, text
from .issuer import CLIENT, SECRET, StandIn, running


class Stays(HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:  # type: ignore[override]
        return None


@pytest.fixture
def issuer(world: World) -> Iterator[StandIn]:
    with running() as made:
        world.app.state.site.issuer = Issuer(url=made.url, client_id=CLIENT, secret=SECRET)
        yield made


def invite(world: World, role: str = "rater") -> str:
    return f"/join/{accounts.invite(world.database, role, 'test')}"


def leave(browser: Browser, start: str) -> str:
    """From our link to the issuer, as a browser goes; the address of our own that it is sent back to."""
    answer = browser.client.get(start, follow_redirects=False)
    assert answer.status_code == 303, answer.text[-600:]
    try:
        build_opener(Stays).open(answer.headers["location"], timeout=10)
    except OSError as moved:  # a redirection that is not followed
        back = urlsplit(moved.headers["Location"])  # type: ignore[attr-defined]
        return f"{back.path}?{back.query}"
    raise AssertionError("the issuer sent nobody back")


def sign_in(browser: Browser, start: str = "/oidc", status: int = 200) -> str:
    return browser.get(leave(browser, start), status)


def member_of(world: World, browser: Browser) -> str:
    who = accounts.find_session(world.database, browser.client.cookies[COOKIE])
    assert who is not None
    return who.rater


def test_an_invitation_then_signing_in_without_one(world: World, issuer: StandIn) -> None:
    link, browser = invite(world, "lead"), world.stranger()
    assert f'href="{link}/oidc"' in browser.get(link)
    sign_in(browser, f"{link}/oidc")
    assert browser.place == "/"
    browser.get("/lead")
    who = member_of(world, browser)
    world.stranger().get(link, 410)
    again = world.stranger()
    host = urlsplit(issuer.url).netloc
    assert f"Sign in with {host}" in again.get("/login")
    sign_in(again)
    assert member_of(world, again) == who
    assert BEGAN_COOKIE not in again.client.cookies
    issuer.subject = "sub-2"
    assert "you have no account here yet" in sign_in(world.stranger(), status=403)


def test_of_a_person_nothing_is_kept_and_nothing_exported(world: World, issuer: StandIn) -> None:
    world.ask([text("a"), text("b")])
    browser = world.stranger()
    sign_in(browser, f"{invite(world)}/oidc")
    browser.label()
    browser.say(say="left")
    with world.database.transaction() as connection:
        everything = " ".join(
            str(connection.execute(sa.select(table)).all()) for table in tables.metadata.sorted_tables
        )
    everything += json.dumps(list(rows(world.database, "p")))
    for told in ("ann@example.org", "Ann Example", "sub-1", issuer.url):
        assert told not in everything
    assert "ann@x" in everything  # whoever signs up with a password has a login: such a word would be found


def test_where_it_is_open_everybody_joins_as_rater(world: World, issuer: StandIn) -> None:
    world.app.state.site.issuer = replace(world.app.state.site.issuer, open=True)
    browser = world.stranger()
    sign_in(browser)
    browser.get("/lead", 403)
    assert world.scalar(sa.select(tables.rater.c.role).where(tables.rater.c.id == member_of(world, browser))) == "rater"
    before = world.scalar(sa.select(sa.func.count()).select_from(tables.rater))
    sign_in(world.stranger())
    assert world.scalar(sa.select(sa.func.count()).select_from(tables.rater)) == before


def test_an_invitation_is_not_spent_by_somebody_who_is_here(world: World, issuer: StandIn) -> None:
    first, second = invite(world), invite(world, "admin")
    browser = world.stranger()
    sign_in(browser, f"{first}/oidc")
    sign_in(browser, f"{second}/oidc")
    browser.get("/lead", 403)
    world.stranger().get(second)
    world.stranger().get(f"{first}/oidc", 410)


def test_one_invitation_lets_one_in(world: World, issuer: StandIn) -> None:
    link, one, other = invite(world), world.stranger(), world.stranger()
    first, second = (leave(browser, f"{link}/oidc") for browser in (one, other))
    one.get(first)
    issuer.subject = "sub-2"
    codes = list(issuer.codes)
    assert len(codes) == 1
    other.get(second, 422)
    assert COOKIE not in other.client.cookies


@pytest.mark.parametrize("change", ["state", "cookie", "none", "another browser"])
def test_a_state_that_is_not_of_this_browser(world: World, issuer: StandIn, change: str) -> None:
    browser = world.stranger()
    back = leave(browser, f"{invite(world)}/oidc")
    if change == "state":
        back = back[:-1] + ("0" if back[-1] != "0" else "1")
    elif change == "cookie":
        kept = browser.client.cookies[BEGAN_COOKIE]
        browser.client.cookies.clear()
        browser.client.cookies.set(BEGAN_COOKIE, kept + "x", path="/oidc")
    elif change == "none":
        browser.client.cookies.clear()
    else:
        browser = world.stranger()
        leave(browser, "/oidc")
    assert "not begun in this browser" in browser.get(back, 403)
    assert issuer.exchanged == 0
    assert COOKIE not in browser.client.cookies


def test_a_code_is_good_once(world: World, issuer: StandIn) -> None:
    browser = world.stranger()
    back = leave(browser, f"{invite(world)}/oidc")
    kept = browser.client.cookies[BEGAN_COOKIE]
    browser.get(back)
    assert "not begun in this browser" in browser.get(back, 403)
    thief = world.stranger()
    thief.client.cookies.set(BEGAN_COOKIE, kept, path="/oidc")
    assert "is out of date or cannot be trusted" in thief.get(back, 403)
    assert COOKIE not in thief.client.cookies


def test_a_code_of_another_browser_lacks_its_verifier(world: World, issuer: StandIn) -> None:
    victim, thief = world.stranger(), world.stranger()
    theirs, own = (parse_qs(urlsplit(leave(each, "/oidc")).query) for each in (victim, thief))
    assert "is out of date" in thief.get(f"/oidc/back?code={theirs['code'][0]}&state={own['state'][0]}", 403)


HOUR_AGO = int(time.time()) - 3600


@pytest.mark.parametrize(
    ("claims", "trusted"),
    [
        ({}, True),
        ({"exp": HOUR_AGO + 60, "iat": HOUR_AGO}, False),
        ({"exp": None}, False),
        ({"iat": HOUR_AGO + 7200}, False),
        ({"aud": "another client"}, False),
        ({"aud": "another client", "azp": CLIENT}, False),
        ({"aud": None}, False),
        ({"aud": [CLIENT, "another"], "azp": "another"}, False),
        ({"aud": [CLIENT], "azp": CLIENT}, True),
        ({"iss": "https://evil.example"}, False),
        ({"iss": None}, False),
        ({"nonce": "another"}, False),
        ({"nonce": None}, False),
        ({"sub": None}, False),
        ({"sub": ""}, False),
        ({"sub": ["sub-1"]}, False),
    ],
)
def test_what_a_token_says(world: World, issuer: StandIn, claims: dict[str, object], trusted: bool) -> None:
    issuer.claims = claims
    browser = world.stranger()
    said = sign_in(browser, f"{invite(world)}/oidc", 200 if trusted else 403)
    assert ("cannot be trusted" in said) == (not trusted)
    assert (COOKIE in browser.client.cookies) == trusted


@pytest.mark.parametrize("forged", ["another key", "none", "a shared secret", "no token"])
def test_who_signed_it(world: World, issuer: StandIn, forged: str) -> None:
    issuer.published = issuer.key
    if forged == "another key":
        issuer.key = RSAKey.generate_key(2048, {"kid": "one"})
    elif forged == "none":
        issuer.header = {"alg": "none"}
    elif forged == "a shared secret":
        issuer.header = {"alg": "HS256", "kid": "one"}
    else:
        issuer.say["token"] = {"id_token": None}
    assert "cannot be trusted" in sign_in(world.stranger(), f"{invite(world)}/oidc", 403)


def test_an_issuer_changes_its_keys(world: World, issuer: StandIn) -> None:
    link = invite(world)
    sign_in(world.stranger(), f"{link}/oidc")
    issuer.key, issuer.header = RSAKey.generate_key(2048, {"kid": "two", "use": "sig"}), {"alg": "RS256", "kid": "two"}
    sign_in(world.stranger())


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("/.well-known/openid-configuration", (500, {})),
        ("/.well-known/openid-configuration", (200, b"<html>")),
        ("/.well-known/openid-configuration", (200, [])),
        ("/.well-known/openid-configuration", (200, {"issuer": "https://evil.example"})),
        ("/.well-known/openid-configuration", (302, {})),
        ("/keys", (200, {"keys": "none"})),
        ("/keys", (404, {})),
        ("/token", (500, {})),
        ("/token", (200, b"<html>")),
        ("/token", (200, [])),
        ("/token", (401, {"error": "invalid_client"})),
    ],
)
def test_an_issuer_that_cannot_be_understood(
    world: World, issuer: StandIn, place: str, said: tuple[int, object]
) -> None:
    browser, link = world.stranger(), invite(world)
    issuer.say[place] = said
    start = link + "/oidc"
    html = browser.get(start, 502) if "well-known" in place else sign_in(browser, start, 502)
    assert "cannot be reached or cannot be understood" in html
    issuer.say.clear()
    sign_in(browser, start)  # nothing of it was kept


def test_an_issuer_that_sends_browsers_over_plain_http(world: World, issuer: StandIn) -> None:
    place = "/.well-known/openid-configuration"
    issuer.say[place] = (200, issuer.about() | {"authorization_endpoint": "http://evil.example/"})
    world.stranger().get("/oidc", 502)


def test_an_issuer_that_is_not_there(world: World, issuer: StandIn) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{probe.getsockname()[1]}"
        world.app.state.site.issuer = Issuer(url=gone, client_id=CLIENT, secret=SECRET)
        html = world.stranger().get("/oidc", 503)
    assert "cannot be reached" in html
    assert "Traceback" not in html


def test_it_dies_between_there_and_back(world: World) -> None:
    with running() as issuer:
        world.app.state.site.issuer = Issuer(url=issuer.url, client_id=CLIENT, secret=SECRET)
        browser = world.stranger()
        back = leave(browser, "/oidc")
    assert "cannot be reached" in browser.get(back, 503)


def test_somebody_says_no_there(world: World, issuer: StandIn) -> None:
    issuer.declines = True
    assert "did not sign you in" in sign_in(world.stranger(), status=403)


def test_the_paused_get_no_questions_and_the_erased_are_strangers(world: World, issuer: StandIn) -> None:
    world.ask([text("a"), text("b")])
    browser = world.stranger()
    sign_in(browser, f"{invite(world)}/oidc")
    who = member_of(world, browser)
    accounts.set_state(world.database, who, "paused", world.admin.who)
    again = world.stranger()
    sign_in(again)
    assert "Your account is paused" in again.get("/projects/p/label", 403)
    accounts.erase(world.database, who, world.admin.who)
    assert again.client.get("/", follow_redirects=False).status_code == 303
    assert "you have no account here yet" in sign_in(world.stranger(), status=403)
    assert world.scalar(sa.select(sa.func.count()).where(tables.account.c.rater == who)) == 0
    sign_in(browser, f"{invite(world)}/oidc")
    assert member_of(world, browser) != who


def test_tries_are_counted(world: World, issuer: StandIn) -> None:
    browser = world.stranger()
    for _ in range(40):
        browser.get("/oidc/back?code=x&state=y", 403)
    browser.get("/oidc/back?code=x&state=y", 429)
    browser.get("/oidc", 429)


def test_the_cookie_and_what_the_issuer_hears(world: World, issuer: StandIn) -> None:
    client = TestClient(world.app, base_url="https://label.example")
    answer = client.get("/oidc", follow_redirects=False)
    cookie = answer.headers["set-cookie"].lower()
    assert all(part in cookie for part in ("httponly", "secure", "samesite=lax", "path=/oidc", "max-age=600"))
    asked = parse_qs(urlsplit(answer.headers["location"]).query)
    assert asked["redirect_uri"] == ["https://label.example/oidc/back"]
    secret = client.cookies[BEGAN_COOKIE]
    assert secret not in answer.headers["location"]
    assert len({asked["state"][0], asked["nonce"][0], asked["code_challenge"][0]}) == 3


def test_without_an_issuer_there_is_no_such_page(world: World) -> None:
    browser = world.stranger()
    assert "/oidc" not in browser.get("/login")
    assert "/oidc" not in browser.get(invite(world))
    for place in ("/oidc", "/oidc/back", f"{invite(world)}/oidc"):
        browser.get(place, 404)


@pytest.mark.parametrize(
    ("options", "secret", "why"),
    [
        (["--oidc-client-id", "x"], "s", "need --oidc-issuer"),
        (["--oidc-issuer", "https://i.example"], "s", "needs --oidc-client-id"),
        (["--oidc-issuer", "https://i.example", "--oidc-client-id", "x"], "", OIDC_SECRET),
        (["--oidc-issuer", "http://i.example", "--oidc-client-id", "x"], "s", "must be an https:// address"),
        (["--oidc-issuer", "i.example", "--oidc-client-id", "x"], "s", "must be an https:// address"),
    ],
)
def test_options_that_cannot_be(options: list[str], secret: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OIDC_SECRET, secret)
    with pytest.raises(ConfigError, match=why):
        serve(["--database", "never-made.db", *options])


def test_a_server_without_an_issuer_imports_nothing_for_it() -> None:
    code = (
        "import sys, tercih.commands.serve;"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'authlib', 'joserfc', 'httpx2', 'cryptography'}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
