"""A rater watches an agent act and presses keys as it does: a real server, a real worker's process, a real browser."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tercih.data.steps import read_steps
from tercih.environments.override import Log
from tercih.feedback import acts, tables
from tercih.feedback.exchange.export import items_of, rows

from .conftest import Site, fits, violations
from .test_labelling import SIZES

pytestmark = pytest.mark.browser
STEP = "document.querySelector('[data-step]').textContent"


@pytest.fixture
def worker(site: Site) -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Starts `tercih worker` beside the server."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "tercih.cli", "worker", "--database", site.database.place, "--every", "0.2"]
        running.append(subprocess.Popen([*command, "--clips", str(site.clips), *options], stdout=subprocess.DEVNULL))
        return running[-1]

    yield start
    for each in running:
        each.kill()
        each.wait()


def signals(site: Site) -> list[acts.Signal]:
    with site.database.transaction() as connection:
        key = connection.scalar(sa.select(sa.func.max(tables.act.c.id)))
    return acts.signals_since(site.database, key)


def state(site: Site) -> str:
    with site.database.transaction() as connection:
        return str(connection.scalar(sa.select(tables.act.c.state).order_by(tables.act.c.id.desc()).limit(1)))


def begun(site: Site, page: Any) -> None:
    page.goto(f"{site.address}/")
    page.get_by_role("link", name="Watch an agent act").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/live")
    page.wait_for_function("() => document.readyState === 'complete'")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-act]")


def at_step(page: Any, step: int) -> None:
    page.wait_for_function(f"() => Number({STEP}) >= {step}", timeout=20_000)


def pressed(page: Any, key: str) -> tuple[int, int]:
    """Between which two steps on the screen."""
    before = int(page.evaluate(STEP))
    page.keyboard.press(key)
    return before, int(page.evaluate(STEP))


def test_a_person_presses_while_cartpole_acts(
    site: Site, visitor: Callable[..., Any], worker: Callable[..., Any]
) -> None:
    site.project("pole", kind="live", environment="CartPole-v1", act_steps=60, act_rate=10.0, title="Balance")
    page = visitor(*SIZES["telephone"])
    begun(site, page)
    page.get_by_text("The agent is about to begin").wait_for()
    page.get_by_text("No worker has come yet").wait_for(timeout=9000)
    page.screenshot(path=site.shots / "act-nobody.png", full_page=True)
    page.keyboard.press("+")  # there is nothing to judge yet
    worker()
    at_step(page, 5)
    windows = []
    for step, key in ((8, "+"), (16, "-"), (22, "ArrowDown"), (30, "ArrowUp")):
        at_step(page, step)
        windows.append((pressed(page, key), time.time()))
        if key == "ArrowDown":  # a slip
            page.keyboard.press("Backspace")
    assert page.locator("[data-tally]").inner_text() == "+−+"
    page.screenshot(path=site.shots / "act-telephone.png", full_page=True)
    assert violations(page) == []
    assert fits(page)
    page.wait_for_timeout(300)
    heard = signals(site)  # while it acts, the worker's agent can read them
    assert state(site) == "acting"
    assert [each.value for each in heard] == [1, -1, -1, 0, 1]
    told = [each for each in heard if each.value]
    for each, ((earliest, latest), when) in zip(told, windows, strict=True):
        assert earliest <= each.step <= latest
        assert each.step / 10 - 0.1 <= each.seconds <= latest / 10 + 1.0
        assert each.received == pytest.approx(when, abs=1.0)
    page.set_viewport_size({"width": 1280, "height": 800})
    page.screenshot(path=site.shots / "act-desk.png", full_page=True)

    page.get_by_text("It is over. 3 of your signals are kept.").wait_for(timeout=20_000)
    page.screenshot(path=site.shots / "act-over.png", full_page=True)
    assert violations(page) == []
    (row,) = rows(site.database, "pole", kind="live")
    (clip,) = items_of(row)
    assert row["answer"]["steps"] == [each.step for each in acts.standing(heard)]
    assert [value for _, value in row["answer"]["signals"]] == [1.0, -1.0, 1.0]
    steps = read_steps(site.clips / clip.steps)  # type: ignore[union-attr]
    assert len(steps) == 60
    assert steps.times[-1] == pytest.approx(6.0, abs=1.0)
    assert page.troubles == []


def test_a_person_acts_in_the_agents_place(site: Site, visitor: Callable[..., Any], worker: Callable[..., Any]) -> None:
    """Held by a key while it is down, by a button until it is let go; the agent learns from it."""
    site.project(
        "pole", kind="live", environment="CartPole-v1", act_steps=600, act_rate=20.0, actions="push left, push right"
    )
    page = visitor(*SIZES["telephone"])
    worker("--agent", "coach")
    begun(site, page)
    at_step(page, 5)
    held = "[data-hands] [aria-pressed=true]"
    before = int(page.evaluate(STEP))
    page.keyboard.down("2")
    page.wait_for_selector(held)
    assert page.locator(held).inner_text().startswith("push right")
    first = int(page.evaluate(STEP))
    page.screenshot(path=site.shots / "hands-telephone.png", full_page=True)
    assert fits(page)
    page.set_viewport_size({"width": 1280, "height": 800})
    page.screenshot(path=site.shots / "hands-desk.png", full_page=True)
    assert violations(page) == []
    assert fits(page)
    at_step(page, first + 12)
    page.keyboard.up("2")
    assert page.locator(held).count() == 0
    page.get_by_role("button", name="push left").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(held)
    second = int(page.evaluate(STEP))
    at_step(page, second + 12)
    page.keyboard.press("0")
    assert page.locator(held).count() == 0
    page.keyboard.press("+")
    at_step(page, second + 18)
    page.keyboard.press("e")
    page.get_by_text("It is over. 1 of your signals are kept.").wait_for()
    assert [each.action for each in signals(site)] == [1, -1, 0, -1, None]
    for _ in range(50):
        if list(rows(site.database, "pole", kind="live")):  # the worker writes the clip before
            break
        time.sleep(0.1)
    (row,) = rows(site.database, "pole", kind="live")
    (clip,) = items_of(row)
    (file,) = site.clips.glob("acts/*.overrides.npz")
    _, wanted_B, done_B, replaced_B = Log.read(file).columns()
    assert done_B.tolist() == read_steps(site.clips / clip.steps).actions.tolist()  # type: ignore[union-attr]
    assert clip.columns["replaced"] == replaced_B.sum() > 3
    for since, action in ((first, 1), (second, 0)):
        assert set(done_B[since + 3 : since + 12].tolist()) == {action}
    assert not replaced_B[:before].any()
    assert not replaced_B[-4:].any()
    assert len({*wanted_B.tolist()}) == 2
    assert list(site.clips.glob("agents/*coach*/*"))  # what it learned
    assert page.troubles == []


def test_a_killed_worker_is_told_and_loses_nothing(
    site: Site, visitor: Callable[..., Any], worker: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acts, "SILENT", 2.0)
    site.project("pole", kind="live", environment="CartPole-v1", act_steps=600)
    page = visitor()
    process = worker()
    begun(site, page)
    at_step(page, 8)
    page.keyboard.press("+")
    page.wait_for_timeout(300)
    at_step(page, 30)  # the steps are saved every two seconds
    os.kill(process.pid, signal.SIGKILL)
    page.get_by_text("The agent stopped unexpectedly. 1 of your signals are kept.").wait_for(timeout=9000)
    (row,) = rows(site.database, "pole", kind="live")
    assert len(row["answer"]["signals"]) == 1
    steps = read_steps(Path(site.clips / items_of(row)[0].steps))  # type: ignore[union-attr]
    assert len(steps) >= row["answer"]["steps"][0]
    page.get_by_role("button", name="Begin").wait_for()


def test_presses_survive_a_broken_connection(
    site: Site, visitor: Callable[..., Any], worker: Callable[..., Any]
) -> None:
    site.project("pole", kind="live", environment="CartPole-v1", act_steps=600)
    page = visitor()
    worker()
    begun(site, page)
    at_step(page, 3)
    page.route("**/signals", lambda route: (route.fetch(), route.abort()))  # it arrives, but the receipt is lost
    page.keyboard.press("+")
    page.get_by_text("No connection").wait_for()
    page.unroute("**/signals")
    page.wait_for_function("() => Object.keys(localStorage).length === 0")
    page.context.set_offline(True)
    page.keyboard.press("-")
    page.wait_for_timeout(500)
    page.context.set_offline(False)
    page.wait_for_function("() => Object.keys(localStorage).length === 0")
    assert [each.value for each in signals(site)] == [1, -1]
    page.keyboard.press("e")
    page.get_by_text("It is over. 2 of your signals are kept.").wait_for()


def test_who_closes_the_page_ends_the_act(site: Site, visitor: Callable[..., Any], worker: Callable[..., Any]) -> None:
    site.project("pole", kind="live", environment="CartPole-v1", act_steps=9000)
    page = visitor()
    worker()
    begun(site, page)
    at_step(page, 3)
    page.goto(f"{site.address}/")
    assert state(site) == "acting"
    for _ in range(200):
        if state(site) == "over":
            break
        time.sleep(0.1)
    assert state(site) == "over"
    assert list(site.clips.glob("acts/*.npz"))


def test_without_a_script(site: Site, visitor: Callable[..., Any], worker: Callable[..., Any]) -> None:
    site.project("pole", kind="live", environment="CartPole-v1", act_steps=300)
    page = visitor(*SIZES["telephone"], java_script_enabled=False)
    worker()
    page.goto(f"{site.address}/projects/pole/live")
    page.get_by_role("button", name="Begin").click()
    for _ in range(50):
        page.get_by_role("link", name="Show the newest picture").click()
        if page.locator("[data-still]").count():
            break
        time.sleep(0.1)
    page.get_by_role("button", name="Good now").click()
    page.get_by_role("button", name="Bad now").click()
    assert page.locator("[data-tally]").inner_text() == "+−"
    page.screenshot(path=site.shots / "act-without-script.png", full_page=True)
    assert [each.value for each in signals(site)] == [1, -1]
    page.get_by_role("button", name="I have seen enough").click()
    page.get_by_text("2 of your signals are kept").wait_for()
