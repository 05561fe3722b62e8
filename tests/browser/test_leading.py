"""The lead's page on quality in a real browser, over raters whose ways are planted (simulated people)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from browser.conftest import Site, fits, poem, violations
from feedback.test_overview import plant
from tercih.feedback.tables import fit


@pytest.mark.parametrize(("name", "width"), [("telephone", 360), ("desktop", 1280)])
def test_quality_shows_who_leans_and_what_was_learned(
    site: Site, visitor: Callable[..., Any], name: str, width: int
) -> None:
    plant(site.database)
    curve = [
        {"answers": n, "accuracy": {"value": right, "low": right - 0.06, "high": right + 0.05}}
        for n, right in ((100, 0.55), (200, 0.63), (300, 0.67), (450, 0.7))
    ]
    savings = {"saved": 40.0, "low": 12.0, "high": 71.0, "labels": 160, "active": True, "why": "saved 40 of 160"}
    with site.database.transaction(write=True) as connection:
        for kind, result in (("told learning", {"curve": curve}), ("savings", savings)):
            row = {"project": "p", "kind": kind, "events": 1, "time": 0.0, "result": result}
            connection.execute(fit.insert().values(row))
    page = visitor(width, role="lead")
    page.goto(f"{site.address}/lead/p/quality")
    rater = page.locator("tr", has=page.locator("a", has_text="lefty"))
    assert rater.locator(".badge").count() == 1
    assert page.locator("svg.interval").count() > 12
    assert page.locator("svg.curve .line").get_attribute("points").count(",") == 4
    assert "40 [12, 71]" in page.inner_text("main")
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
