"""The lead's page on quality: what it shows, from what, and that nobody waits for it."""

import re
from typing import Any

import pytest

from tercih.feedback import overview
from tercih.feedback.fits import last_change, write_fit
from tercih.feedback.overview import QUALITY, report
from tercih.feedback.overview.learned import TOLD
from tercih.feedback.overview.without import KIND, without
from tercih.feedback.questions import Question
from tercih.feedback.store import Store
from tercih.records import Text

from .conftest import World

SAVES = {"gain": 0.1, "low": 0.02, "high": 0.2, "share": 0.41, "share_low": 0.12, "share_high": 0.55, "sees": 0.33,
         "labels": 400, "active": True, "why": "saves"}  # fmt: skip


def plant(world: World, count: int = 40) -> None:
    """Agent "new" is better than "old" at sums and worse at jokes, so ann and bob say."""
    store, asked = Store(world.database), []
    for at in range(count):
        task = ("sums", "jokes")[at % 2]
        items = tuple(
            Text(prompt=f"{task} {at // 4}", completion=f"{name} {at}", origin=name, columns={"task": task})
            for name in ("new", "old")
        )
        asked.append(Question(items=items, run="r", step=0, index=at, project="p", votes=2))
    for at, key in enumerate(store.ask(asked)):
        for who in (world.ann.who, world.bob.who):
            store.judge(key, who, "a" if at % 2 == 0 or at % 20 == 1 else "b")


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def keep(world: World, **rest: Any) -> None:
    """What the worker would keep."""
    settings, answers = world.app.state.site.queue.settings("p"), overview.read(world.database, "p")
    made = overview.look(world.database, settings).report
    assert made is not None
    last = last_change(world.database, "p")
    write_fit(world.database, "p", QUALITY, rest.get("events", last), made.row)
    write_fit(world.database, "p", KIND, last, without(answers.told) | {"answers": len(answers.told)})


def test_the_page_shows_agents_sources_and_reasons(world: World) -> None:
    plant(world)
    keep(world)
    write_fit(world.database, "p", "savings", 1, SAVES)
    said = text_of(world.lead.get("/lead/p/quality"))
    assert "Agents across tasks" in said
    assert re.search(r"new \d.* jokes -?\d", said)
    assert "How far the best agent’s worst task lies below the rest" in said
    assert "Learned without them" in said
    assert f"Rater {world.ann.who}" in said
    assert "41 % [12, 55] (n = 400). The chosen questions save labels" in said
    assert "A saving of 33 % or more would be found four times in five" in said
    assert "all comparisons are of one source" in said
    assert "learns from the first answers alone" in said


def test_a_fresh_report_is_shown_and_not_worked_out_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(world)
    keep(world)
    counted = []
    monkeypatch.setattr(report, "read", lambda *_: counted.append("read"))
    monkeypatch.setattr(report, "dawid_skene", lambda *_: counted.append("fit"))
    said = world.lead.get("/lead/p/quality")
    assert counted == []
    assert world.ann.who in said
    assert "answers have come since" not in said
    world.set(cost_per_hour=3.0)  # figures depend on it: it is worked out again
    monkeypatch.undo()
    assert "Cost" in world.lead.get("/lead/p/quality")


def test_of_many_answers_the_last_report_is_shown_with_its_age(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(world)
    monkeypatch.setattr(report, "MOST_AT_ONCE", 1)
    assert "start “tercih worker”" in world.lead.get("/lead/p/quality")
    monkeypatch.setattr(report, "MOST_AT_ONCE", 1000)
    keep(world, events=last_change(world.database, "p") - 1)
    monkeypatch.setattr(report, "MOST_AT_ONCE", 1)
    said = world.lead.get("/lead/p/quality")
    assert "answers have come since" in said
    assert world.ann.who in said
    monkeypatch.setattr(report, "MOST_AT_ONCE", 1000)
    assert "answers have come since" not in world.lead.get("/lead/p/quality")


def test_the_curve_of_a_run_comes_before_the_workers(world: World) -> None:
    plant(world)
    keep(world)
    rows = [{"answers": n, "accuracy": {"value": 0.6, "low": 0.5, "high": 0.7}} for n in (50, 99)]
    write_fit(world.database, "p", TOLD, 0, {"curve": rows})
    said = text_of(world.lead.get("/lead/p/quality"))
    assert "of the reward model of the run that asks" in said
    assert "99 60.0 % [50.0, 70.0]" in said
    assert "Reward model right, with all answers 60.0 % [50.0, 70.0] (n = 99)" in said


def test_nobody_has_answered(world: World) -> None:
    said = world.lead.get("/lead/p/quality")
    assert "Nobody has answered yet." in said
    assert "Learned without them" not in said
