"""The lead's page on quality in a real browser, over raters whose ways are planted (simulated people)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from browser.conftest import Site, fits, poem, violations
from feedback.test_overview import plant
from tercih.feedback import overview
from tercih.feedback.fits import write_fit


@pytest.mark.parametrize(("name", "width"), [("telephone", 360), ("desktop", 1280)])
def test_quality_shows_who_leans_and_what_was_learned(
    site: Site, visitor: Callable[..., Any], name: str, width: int
) -> None:
    plant(site.database)
    curve = [
        {"answers": n, "accuracy": {"value": right, "low": right - 0.06, "high": right + 0.05}}
        for n, right in ((100, 0.55), (200, 0.63), (300, 0.67), (450, 0.7))
    ]
    savings = {"share": 0.4, "share_low": 0.12, "share_high": 0.71, "sees": 0.3, "labels": 400, "why": "saves"}
    told = overview.read(site.database, "p").told
    kept = {"told learning": {"curve": curve}, "savings": savings, "without": overview.without(told)}
    for kind, result in kept.items():
        write_fit(site.database, "p", kind, 1, result)
    page = visitor(width, role="lead")
    page.goto(f"{site.address}/lead/p/quality")
    rater = page.locator("tr", has=page.locator("a", has_text="lefty"))
    assert rater.locator(".badge").count() == 1
    assert page.locator("svg.interval").count() > 12
    assert page.locator("svg.curve .line").get_attribute("points").count(",") == 4
    assert "40 % [12, 71]" in page.inner_text("main")
    without = page.locator("section", has_text="Learned without them").locator("tr", has_text="lefty")
    assert without.locator("svg.interval").count() == 1
    agents = page.locator("section", has=page.get_by_role("heading", name="Agents across tasks"))
    assert agents.locator("tbody tr").count() == 2
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.screenshot(path=site.shots / f"quality-{name}.png", full_page=True)
    assert violations(page) == []
    assert page.troubles == []


@pytest.mark.parametrize(("name", "width"), [("telephone", 360), ("desktop", 1280)])
def test_a_faulty_file_and_answers_of_a_day(
    site: Site, visitor: Callable[..., Any], name: str, width: int, tmp_path: Path
) -> None:
    site.project("p", title="Poems")
    site.ask("p", "pair", [poem(0)])
    page = visitor(width, role="lead")
    page.goto(f"{site.address}/projects/p/label")
    page.keyboard.press("1")
    page.wait_for_url("**/label")
    faulty = tmp_path / "q.jsonl"
    faulty.write_text('{"prompt": "x", "completions": ["a"]}')
    page.goto(f"{site.address}/lead/p")
    page.set_input_files("#file", faulty)
    page.get_by_role("button", name="Upload questions").press("Enter")
    assert "Line 1: A question of kind pair shows 2 answers, not 1." in page.inner_text("[role=alert]")
    assert fits(page)
    assert violations(page) == []
    page.screenshot(path=site.shots / f"upload-{name}.png", full_page=True)
    page.goto(f"{site.address}/lead/p/answers")
    page.fill("#since", "2026-01-01")
    page.fill("#until", "2199-01-01")
    page.get_by_role("button", name="Search").press("Enter")
    page.wait_for_url("**since=2026-01-01**")
    assert page.locator(".found").count() == 1
    assert page.input_value("#since") == "2026-01-01"
    assert fits(page)
    assert violations(page) == []
    page.screenshot(path=site.shots / f"answers-{name}.png", full_page=True)
    page.fill("#until", "2026-01-01")
    page.fill("#since", "2026-01-02")
    page.get_by_role("button", name="Search").press("Enter")
    assert "The first day is after the last one." in page.inner_text("[role=alert]")


@pytest.mark.parametrize(("name", "width"), [("telephone", 360), ("desktop", 1280)])
def test_what_is_asked_next_is_said_in_the_settings(
    site: Site, visitor: Callable[..., Any], name: str, width: int
) -> None:
    site.project("p", population={"east": 0.25, "west": 0.75})
    page = visitor(width, role="lead")
    page.goto(f"{site.address}/lead/p/settings")
    assert page.locator("#population").input_value() == "east 0.25\nwest 0.75"
    page.select_option("#rule", "bald")
    page.fill("#random_share", "0.1")
    page.press("#random_share", "Enter")
    assert page.url.endswith("/settings")  # the browser says that it is too little
    page.fill("#random_share", "0.3")
    page.screenshot(path=site.shots / f"settings-{name}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert violations(page) == []
    page.press("#random_share", "Enter")
    page.wait_for_url(f"{site.address}/lead/p")
    page.goto(f"{site.address}/lead/p/settings")
    assert (page.locator("#rule").input_value(), page.locator("#random_share").input_value()) == ("bald", "0.3")
    assert page.troubles == []
