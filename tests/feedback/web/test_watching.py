"""The pages on which a rater watches an agent act; the worker's part is played here."""

import uuid
from typing import Any

import sqlalchemy as sa

from tercih.feedback import acts, jobs, tables
from tercih.feedback.acts import Frame
from tercih.feedback.web import watching

from .conftest import Browser, World


def begun(world: World) -> int:
    world.set(kind="live", environment="CartPole-v1")
    world.ann.get("/projects/p/live")
    world.ann.post("/projects/p/live")
    assert world.ann.place == "/projects/p/live"
    return int(world.scalar(sa.select(sa.func.max(tables.act.c.id))))


def shown(world: World, act: int, step: int) -> None:
    assert acts.show(world.database, act, Frame(step=step, seconds=step / 10, jpeg=b"\xff\xd8 picture"))


def said(world: World, act: int) -> list[int]:
    return [each.value for each in acts.signals_since(world.database, act)]


def press(browser: Browser, act: int, status: int = 200, **fields: str) -> str:
    own = {"key": uuid.uuid4().hex, "value": "1", "step": "3", "seconds": "0.35"}
    return browser.post(f"/acts/{act}/signals", status, **{**own, **fields})


def test_acting_in_its_place_without_a_script(world: World) -> None:
    act = begun(world)
    assert "data-hands" not in world.ann.get("/projects/p/live")
    world.ann.post(f"/acts/{act}/end")
    world.set(kind="live", environment="CartPole-v1", actions="push left, push right")
    world.ann.post("/projects/p/live")
    act = int(world.scalar(sa.select(sa.func.max(tables.act.c.id))))
    acts.begin(world.database, act)
    shown(world, act, 3)
    page = world.ann.get("/projects/p/live")
    assert page.count('aria-pressed="false"') == 2
    page = press(world.ann, act, action="1")
    assert page.index("push left") < page.index('aria-pressed="true"') < page.index("push right")
    assert world.ann.html.count('aria-pressed="true"') == 1
    page = press(world.ann, act, action="-1")
    assert 'aria-pressed="true"' not in page
    for wrong in ("2", "-2", "x", ""):
        press(world.ann, act, 422, action=wrong)
    assert [each.action for each in acts.signals_since(world.database, act)] == [1, -1]


def test_frames_and_presses(world: World) -> None:
    act = begun(world)
    answer = world.ann.client.get(f"/acts/{act}/frame")
    assert (answer.status_code, answer.headers["x-state"]) == (204, "waiting")
    press(world.ann, act, 409, step="0")
    assert acts.begin(world.database, act)
    shown(world, act, 3)
    answer = world.ann.client.get(f"/acts/{act}/frame?after=2")
    assert (answer.status_code, answer.content) == (200, b"\xff\xd8 picture")
    assert [answer.headers[name] for name in ("content-type", "x-state", "x-step", "x-seconds", "cache-control")] == [
        "image/jpeg", "acting", "3", "0.3", "no-store",
    ]  # fmt: skip
    assert world.ann.client.get(f"/acts/{act}/frame?after=3").status_code == 204
    assert world.ann.client.get(f"/acts/{act}/frame?after=x").status_code == 200

    world.ann.get("/projects/p/live")
    mark = world.ann.hidden("key")
    for _ in range(2):
        press(world.ann, act, key=mark)
    press(world.ann, act, 204, value="-1", quiet="1")
    assert said(world, act) == [1, -1]
    assert ">+−<" in world.ann.get("/projects/p/live")
    press(world.ann, act, value="0")
    assert ">+<" in world.ann.html
    for fields in ({"value": "2"}, {"value": ""}, {"step": "4"}, {"step": "x"}, {"seconds": "nan"}, {"seconds": "-1"}):
        press(world.ann, act, 422, **fields)
        world.ann.get("/")
    press(world.ann, act, 422, key="no key")
    world.ann.get("/projects/p/live")
    world.ann.post(f"/acts/{act}/end")
    assert "It is over. 1 of your signals are kept." in world.ann.html
    assert world.ann.client.get(f"/acts/{act}/frame?after=9").headers["x-state"] == "over"


def test_an_act_is_for_its_rater_alone(world: World) -> None:
    act = begun(world)
    acts.begin(world.database, act)
    shown(world, act, 3)
    for browser in (world.bob, world.admin):
        browser.get("/")
        browser.get(f"/acts/{act}/frame", 403)
        browser.get("/")
        press(browser, act, 403)
        browser.get("/")
        browser.post(f"/acts/{act}/end", 403)
    world.ann.get("/acts/99/frame", 404)
    assert said(world, act) == []


def test_where_nothing_acts(world: World) -> None:
    world.ann.get("/projects/p/live", 404)
    world.ann.get("/")
    assert "/projects/p/live" not in world.ann.html
    world.ann.post("/projects/p/live", 404)
    world.ann.get("/projects/none/live", 404)
    assert jobs.take(world.database, ["act"]) is None


def test_who_is_paused_or_has_not_read_or_trained_yet(world: World) -> None:
    begun(world)
    with world.database.transaction(write=True) as connection:
        new = {"project": "p", "version": 1, "text": "Read me.", "created": 0.0}
        connection.execute(tables.guideline.insert().values(new))
    world.ann.get("/projects/p/live")
    assert world.ann.place == "/projects/p/guidelines"
    world.lead.get("/people")
    world.lead.post(f"/people/{world.ann.who}/state", state="paused")
    world.ann.get("/projects/p/live", 403)


def test_no_worker_is_told(world: World, monkeypatch: Any) -> None:
    begun(world)
    assert "The agent is about to begin" in world.ann.get("/projects/p/live")
    monkeypatch.setattr(watching, "PATIENCE", 0.0)
    assert "No worker has come yet" in world.ann.get("/projects/p/live")
