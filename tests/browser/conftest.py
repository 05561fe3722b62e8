"""A real server with people and questions, and a real browser; screenshots go to the folder SCREENSHOTS names."""

import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from argon2 import PasswordHasher

from tercih.feedback.database import Database
from tercih.feedback.projects import Project, make_project
from tercih.feedback.questions import Question
from tercih.feedback.store import Store
from tercih.feedback.web import accounts
from tercih.feedback.web.app import create_app
from tercih.records import Item, Message, Text

AXE = (Path(__file__).parent / "axe.min.js").read_text()
PASSWORD = "correct horse battery"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"


@dataclass
class Site:
    address: str
    database: Database
    shots: Path
    clips: Path
    app: Any

    def project(self, name: str, **settings: Any) -> None:
        make_project(self.database, Project(**{"id": name, "repeats": 0, "golds": 0, **settings}))

    def ask(self, project: str, kind: str, items: list[tuple[Item, ...]], **rest: Any) -> list[str]:
        asked = [
            Question(items=each, run=f"{project} {kind}", step=0, index=at, kind=kind, project=project, **rest)
            for at, each in enumerate(items)
        ]
        return Store(self.database).ask(asked)

    def link(self, role: str = "rater") -> str:
        return f"{self.address}/join/{accounts.invite(self.database, role, 'test')}"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(accounts, "HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    shots = Path(os.environ.get("SCREENSHOTS") or tmp_path / "screenshots")
    shots.mkdir(parents=True, exist_ok=True)
    clips = tmp_path / "clips"
    clips.mkdir()
    with Database(tmp_path / "b.db", durable=False) as database:
        app = create_app(database, clips=clips)
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Site(f"http://127.0.0.1:{port}", database, shots, clips, app)
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"there is no browser {CHROMIUM}; install chromium, or name one in CHROMIUM")
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def visitor(chromium: Any, site: Site) -> Iterator[Callable[..., Any]]:
    """A page of a new browser window, signed up for `role`."""
    contexts = []

    def made(width: int = 1280, height: int = 800, role: str = "rater", **options: Any) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": height}, locale="en-GB", **options)
        context.set_default_timeout(8000)
        contexts.append(context)
        page = context.new_page()
        page.troubles = []
        page.on(
            "console",
            lambda said: page.troubles.append(f"{said.text} {said.location}") if said.type == "error" else None,
        )
        page.on("pageerror", lambda error: page.troubles.append(str(error)))
        page.goto(site.link(role))
        page.keyboard.press("Tab")  # from here on a rater has no mouse
        page.fill("#login", f"{role}{len(contexts)}@example.org")
        page.fill("#password", PASSWORD)
        page.press("#password", "Enter")
        page.wait_for_url(f"{site.address}/")
        return page

    yield made
    for context in contexts:
        context.close()


def violations(page: Any) -> list[str]:
    """What axe finds wrong with a page; it is put in past the page's own rules about scripts."""
    page.wait_for_load_state()
    page.evaluate(AXE)
    found = page.evaluate("async () => (await axe.run()).violations")
    return [f"{each['id']}: {each['help']}: {[node['html'][:160] for node in each['nodes'][:3]]}" for each in found]


def fits(page: Any) -> bool:
    """Nothing sticks out sideways, once the style sheet is there: a page has words before it has widths."""
    page.wait_for_load_state()
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


def seat(page: Any) -> str:
    found = re.search(r"/seats/(\d+)", page.locator("form.judge").get_attribute("action"))
    assert found
    return found[1]


def poem(at: int) -> tuple[Text, Text]:
    turns = (
        Message(role="user", content=f"Write two lines about the sea, please. ({at})"),
        Message(role="assistant", content="Rhymed or free?"),
        Message(role="user", content="Rhymed."),
    )
    return (
        Text(prompt=turns, completion=f"The sea is wide, the sea is deep,\nit rocks the little boats to sleep. {at}"),
        Text(prompt=turns, completion=f"Water. So much water.\n\n    And salt, <b>salt</b> — {at} waves."),
    )
