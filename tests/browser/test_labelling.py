"""Two raters in a real browser, from the keyboard, on a telephone and on a desk; and a network that goes away."""

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from tercih.feedback import tables
from tercih.records import Text

from .conftest import Site, fits, poem, seat, violations

pytestmark = pytest.mark.browser
SIZES = {"telephone": (360, 740), "desk": (1280, 800)}


SELECT = """word => {
  const text = document.querySelector('[data-markable]').firstChild, range = document.createRange();
  range.setStart(text, text.data.indexOf(word));
  range.setEnd(text, text.data.indexOf(word) + word.length);
  getSelection().removeAllRanges();
  getSelection().addRange(range);
}"""


def said(site: Site, kind: str = "answer") -> int:
    with site.database.transaction() as connection:
        count = sa.select(sa.func.count()).select_from(tables.event).where(tables.event.c.kind == kind)
        return int(connection.scalar(count) or 0)


def after(page: Any, earlier: str) -> str:
    """The seat that comes once the earlier one is left."""
    page.wait_for_function(
        "earlier => !document.querySelector(`form.judge[action='/seats/${earlier}']`)",
        arg=earlier,
    )
    return seat(page) if page.locator("form.judge").count() else ""


def test_two_raters_from_the_keyboard(site: Site, visitor: Callable[..., Any]) -> None:
    site.project("poems", title="Poems of the sea", votes=2, confidence=True)
    site.ask("poems", "pair", [poem(at) for at in range(6)], votes=2)
    answers = 0
    for name, (width, height) in SIZES.items():
        page = visitor(width, height, color_scheme="dark" if name == "telephone" else "light")
        page.keyboard.press("Tab")
        page.get_by_role("link", name="Poems of the sea").focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("form.judge")
        page.screenshot(path=site.shots / f"pair-{name}.png", full_page=True)
        assert violations(page) == []
        assert fits(page)
        now, before = seat(page), []
        for key in ("1", "ArrowRight", "0", "b", "c"):
            before.append(now)
            page.keyboard.press(key)
            now = after(page, now)
            answers += 1
        page.wait_for_timeout(300)
        assert said(site) == answers
        page.keyboard.press("u")
        assert after(page, now) == before[-1]
        page.screenshot(path=site.shots / f"undone-{name}.png", full_page=True)
        page.keyboard.press("?")
        page.screenshot(path=site.shots / f"help-{name}.png")
        page.keyboard.press("2")
        answers += 1
        last = after(page, before[-1])
        page.keyboard.press("s")
        assert after(page, last) == ""
        assert page.get_by_role("heading", name="Nothing to do right now").is_visible()
        page.wait_for_timeout(200)
        assert said(site) == answers
        assert page.troubles == []
    with site.database.transaction() as connection:
        seconds = connection.execute(sa.select(tables.assignment.c.seconds).where(tables.assignment.c.state == "done"))
        assert all(each is None or 0 < each < 60 for each in seconds.scalars())


def test_questions_that_come_later_appear_by_themselves(site: Site, visitor: Callable[..., Any]) -> None:
    """As a run asks them that trains meanwhile; answered faster than the server takes them, and nothing was broken."""
    site.project("poems", votes=1)
    page = visitor()
    page.goto(f"{site.address}/projects/poems/label")
    page.get_by_text("This page looks again by itself").wait_for()
    assert violations(page) == []
    site.ask("poems", "pair", [poem(at) for at in range(3)], votes=1)
    page.wait_for_selector("form.judge[data-seat]", timeout=6000)
    page.wait_for_timeout(600)  # the next question is there
    page.route("**/seats/**", lambda route: (time.sleep(0.5), route.continue_()))
    now = seat(page)
    page.keyboard.press("1")
    now = after(page, now)
    page.keyboard.press("2")
    after(page, now)
    page.wait_for_function("() => Object.keys(localStorage).length === 0")
    page.wait_for_timeout(200)
    assert said(site) == 2
    assert page.locator("#status").inner_text() == ""
    page.keyboard.press("1")
    page.get_by_text("This page looks again by itself").wait_for()
    assert page.troubles == []


def test_a_broken_connection_loses_nothing_and_says_nothing_twice(site: Site, visitor: Callable[..., Any]) -> None:
    site.project("poems", votes=1)
    site.ask("poems", "pair", [poem(at) for at in range(5)], votes=1)
    page = visitor(*SIZES["telephone"])
    page.goto(f"{site.address}/projects/poems/label")
    page.wait_for_timeout(600)  # the next question is there
    first = seat(page)
    page.context.set_offline(True)
    page.keyboard.press("1")
    second = after(page, first)
    page.keyboard.press("2")
    page.get_by_text("Your answer is kept on this device").wait_for()
    page.screenshot(path=site.shots / "offline-telephone.png")
    assert said(site) == 0
    page.context.set_offline(False)
    page.get_by_text("Your kept answers have been sent.").wait_for()
    assert after(page, second) not in (first, second, "")
    assert said(site) == 2
    assert page.evaluate("Object.keys(localStorage).length") == 0

    third = seat(page)
    page.route("**/seats/**", lambda route: (route.fetch(), route.abort()))  # it arrives, but the receipt is lost
    page.keyboard.press("1")
    page.get_by_text("Your answer is kept on this device").wait_for()
    assert said(site) == 3
    page.unroute("**/seats/**")
    page.reload()
    page.wait_for_function("() => Object.keys(localStorage).length === 0")
    page.wait_for_timeout(300)
    assert said(site) == 3
    assert seat(page) != third


KINDS: list[tuple[str, list[tuple[Text, ...]], dict[str, Any]]] = [
    ("ranking", [tuple(Text(prompt="Name a colour.", completion=f"Colour {at}") for at in range(4))], {}),
    ("rating", [(poem(0)[0],)], {"aspect": "How musical is it?"}),
    ("thumb", [(poem(0)[0],)], {}),
    ("critique", [(poem(0)[1],)], {}),
    ("demonstration", [(Text(prompt="Greet the reader.", completion=""),)], {}),
    ("rule", [(poem(0)[1],)], {"rule": "The answer must rhyme.", "evidence": ["“deep” rhymes with “sleep”."]}),
    ("spans", [(Text(prompt="2 + 2?", completion="😀 Two and two are five, surely."),)], {}),
    ("plausible", [(Text(prompt="Capital?", completion="Ankara."),)], {"evidence": ["Ankara is the capital."]}),
]


@pytest.mark.parametrize("size", SIZES)
def test_every_kind_can_be_seen_and_answered(site: Site, visitor: Callable[..., Any], size: str) -> None:
    for kind, items, spec in KINDS:
        site.project(kind, kind=kind, votes=2, title=kind.capitalize())
        site.ask(kind, kind, items, spec=spec)
    page = visitor(*SIZES[size])
    for kind, _, _ in KINDS:
        page.goto(f"{site.address}/projects/{kind}/label")
        if kind == "ranking":
            for key in ("3", "1", "4", "2"):
                page.keyboard.press(key)
            assert [page.input_value(f"#place_{at}") for at in range(4)] == ["2", "4", "1", "3"]
        elif kind == "spans":
            page.evaluate(SELECT, "five")
            page.keyboard.press("m")
            page.get_by_text("“five”").wait_for()
        page.screenshot(path=site.shots / f"{kind}-{size}.png", full_page=True)
        assert violations(page) == [], kind
        assert fits(page), kind
        match kind:
            case "critique":
                page.fill("#critique", "It does not rhyme.")
                page.keyboard.press("Tab")
                page.get_by_role("button", name="Send").click()
            case "demonstration":
                page.fill("#completion", "Welcome!")
                page.get_by_role("button", name="Send").click()
            case "plausible":
                page.keyboard.press("1")
                page.keyboard.press("6")
                page.get_by_role("button", name="Send").click()
            case "ranking" | "spans":
                page.keyboard.press("Enter")
            case _:
                page.keyboard.press("2")
        page.get_by_role("heading", name="Nothing to do right now").wait_for()
    assert page.troubles == []
    with site.database.transaction() as connection:
        rows = connection.execute(
            sa.select(tables.question.c.kind, tables.assignment.c.answer).join(
                tables.assignment, tables.assignment.c.question == tables.question.c.id
            )
        )
        answers = {row.kind: row.answer for row in rows}
    assert answers["spans"] == {"spans": [{"start": 18, "end": 22, "kind": "error"}]}
    assert answers["plausible"] == {"plausible": "yes", "supported": "unsure"}
    assert answers["rating"] == {"score": 2}


def test_dragging_gives_places(site: Site, visitor: Callable[..., Any]) -> None:
    site.project("ranking", kind="ranking")
    site.ask("ranking", "ranking", KINDS[0][1])
    page = visitor()
    page.goto(f"{site.address}/projects/ranking/label")
    last, first = page.locator("[data-handle]").last.bounding_box(), page.locator(".thing").first.bounding_box()
    page.mouse.move(last["x"] + 5, last["y"] + 5)
    page.mouse.down()
    page.mouse.move(first["x"] + 30, first["y"] + 4, steps=8)
    page.mouse.up()
    assert page.input_value("#place_3") == "1"
    assert page.input_value("#place_0") == "2"


def test_the_lead_and_the_languages(site: Site, visitor: Callable[..., Any]) -> None:
    site.project("poems", title="Poems", votes=1)
    site.ask("poems", "pair", [poem(0)], votes=1)
    page = visitor(role="admin")
    for place in ("", "lead", "new", "lead/poems", "lead/poems/settings", "lead/poems/answers", "lead/poems/guidelines",
                  "lead/poems/dissent", "people", "log"):  # fmt: skip
        page.goto(f"{site.address}/{place}")
        page.screenshot(path=site.shots / f"page-{place.replace('/', '-') or 'home'}.png", full_page=True)
        assert violations(page) == [], place
        assert fits(page), place
    for language, name in (("tr", "Türkçe"), ("zh-Hant", "繁體中文"), ("zh-Hans", "简体中文")):
        page.goto(f"{site.address}/projects/poems/label")
        page.get_by_role("button", name=name).click()
        page.wait_for_selector(f"html[lang={language}]")
        page.screenshot(path=site.shots / f"pair-{language}.png", full_page=True)
        assert violations(page) == [], language
        assert re.search(r"/projects/poems/label$", page.url)
    page.set_viewport_size({"width": 360, "height": 740})
    for place in ("lead/poems", "people", "log", "lead/poems/settings"):
        page.goto(f"{site.address}/{place}")
        page.screenshot(path=site.shots / f"telephone-{place.replace('/', '-')}.png", full_page=True)
        assert fits(page), place
    assert page.troubles == []


def test_without_a_script(site: Site, visitor: Callable[..., Any]) -> None:
    site.project("ranking", kind="ranking")
    site.ask("ranking", "ranking", KINDS[0][1])
    page = visitor(*SIZES["telephone"], java_script_enabled=False)
    page.goto(f"{site.address}/projects/ranking/label")
    for at in range(4):
        page.fill(f"#place_{at}", str(4 - at))
    page.screenshot(path=site.shots / "ranking-without-script.png", full_page=True)
    page.get_by_role("button", name="Send").click()
    page.get_by_role("heading", name="Nothing to do right now").wait_for()
    assert said(site) == 1
