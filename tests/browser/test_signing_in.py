"""Through another service and back in a real browser, whose rules about cookies and redirections hold."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from browser.conftest import Site, fits, violations
from feedback.web.issuer import CLIENT, SECRET, StandIn, running
from tercih.feedback.web.oidc import Issuer

pytestmark = pytest.mark.browser


@pytest.fixture
def issuer(site: Site) -> Iterator[StandIn]:
    with running() as made:
        site.app.state.site.issuer = Issuer(url=made.url, client_id=CLIENT, secret=SECRET)
        yield made


@pytest.mark.parametrize(("name", "width"), [("telephone", 360), ("desktop", 1280)])
def test_joining_and_signing_in(
    site: Site, issuer: StandIn, visitor: Callable[..., Any], name: str, width: int
) -> None:
    page = visitor(width)
    page.goto(site.link())
    page.screenshot(path=site.shots / f"join-with-{name}.png", full_page=True)
    assert fits(page)
    assert violations(page) == []
    page.get_by_role("link", name="Join with 127.0.0.1").press("Enter")
    page.wait_for_url(f"{site.address}/")
    page.get_by_role("button", name="Sign out").press("Enter")
    page.wait_for_url(f"{site.address}/login")
    page.screenshot(path=site.shots / f"login-with-{name}.png", full_page=True)
    assert fits(page)
    assert violations(page) == []
    page.get_by_role("link", name="Sign in with 127.0.0.1").press("Enter")
    page.wait_for_url(f"{site.address}/")
    assert page.get_by_role("button", name="Sign out").count() == 1
    assert page.troubles == []
