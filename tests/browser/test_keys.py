"""The page of keys, on a telephone and on a desk."""

from collections.abc import Callable
from typing import Any

import pytest

from browser.conftest import Site, fits, violations

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(("name", "width"), [("telephone", 360), ("desktop", 1280)])
def test_a_key_is_made_and_revoked_from_the_keyboard(
    site: Site, visitor: Callable[..., Any], name: str, width: int
) -> None:
    page = visitor(width, role="admin")
    page.goto(f"{site.address}/keys")
    page.fill("#name", "night-run")
    page.get_by_label("ask questions").press("Space")
    page.get_by_role("button", name="Make a key").press("Enter")
    page.wait_for_selector("code.link")
    assert page.inner_text("code.link").startswith("tercih_")
    page.screenshot(path=site.shots / f"keys-{name}.png", full_page=True)
    assert fits(page)
    assert violations(page) == []
    page.get_by_role("button", name="Revoke: night-run").press("Enter")
    page.wait_for_selector("td:has-text('Revoked')")
    assert page.locator("code.link").count() == 0
    assert page.troubles == []
