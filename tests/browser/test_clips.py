"""Clips in a real browser: a rendered video plays, presses carry its own time, what does not play can be skipped."""

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from agents.test_clip_steps import rollout
from tercih.agents.clip_steps import clip_steps
from tercih.data.steps import keep_steps, write_steps
from tercih.environments.control import World
from tercih.environments.worlds import Worlds
from tercih.feedback import tables
from tercih.feedback.exchange.export import items_of, rows
from tercih.feedback.kinds import Said, records_of
from tercih.records import Clip, TimedSignal
from tercih.worker.bench import Bench, work
from tercih.worker.clip import render
from tercih.worker.record import Record

from .conftest import Site, fits, seat, violations
from .test_labelling import SIZES, after, said

pytestmark = pytest.mark.browser
TIME = "document.querySelector('#main video').currentTime"


def filmed(site: Site, seed: int = 0, steps: int = 90) -> Clip:
    """A clip as the worker renders it: a pendulum that is pushed at random, 30 steps a second."""
    record = Record(environment="Pendulum-v1")
    with World("Pendulum-v1") as world:
        record.reset(seed)
        world.reset(seed)
        world.env.action_space.seed(seed)
        for _ in range(steps):
            record.add(world.step(world.env.action_space.sample()))
    write_steps(site.clips / f"{seed}.npz", record.steps())
    return Clip(**render(site.clips, f"{seed}.npz", f"{seed}.mp4"))


def kept(site: Site, environment: str, rate: float, lengths: tuple[int, int]) -> tuple[Clip, Clip]:
    """Two clips of a rollout that nobody has drawn."""
    with Worlds(environment, 2, seed=3) as worlds:
        worlds.action_space.seed(1)
        worlds.reset()
        began, made = rollout(worlds, 60)
        assert worlds.rate == rate
        a, b = (keep_steps(site.clips, clip_steps(worlds, began, made, n, 5, lengths[n])) for n in (0, 1))
    return a, b


def times(page: Any) -> list[float]:
    found: list[float] = page.evaluate("[...document.querySelectorAll('#main video')].map((each) => each.currentTime)")
    return found


def stands(page: Any, *expected: float, within: float = 1e-4) -> None:
    """Both clips come to these times, whichever stands on the left, and stay there."""
    page.evaluate("within => { window.within = within; }", within)
    page.wait_for_function(
        "expected => { const all = [...document.querySelectorAll('#main video:not([hidden])')];"
        " const now = all.map((each) => each.currentTime).sort();"
        " return all.every((each) => each.paused && !each.seeking)"
        " && expected.every((at, place) => now[place] > at - 1e-4 && now[place] < at + window.within); }",
        arg=list(expected),
    )


def shown(page: Any) -> None:
    """The video has its first frame."""
    page.wait_for_function("() => [...document.querySelectorAll('#main video')].every((each) => each.readyState >= 2)")


def plays_past(page: Any, seconds: float) -> None:
    page.wait_for_function(f"() => {TIME} >= {seconds}")


def pressed(page: Any, key: str) -> tuple[float, float]:
    """Between which two moments of the clip the key was pressed."""
    before = page.evaluate(TIME)
    page.keyboard.press(key)
    return before, page.evaluate(TIME)


def answer(site: Site) -> dict[str, Any]:
    query = sa.select(tables.assignment.c.answer).where(tables.assignment.c.state == "done")
    with site.database.transaction() as connection:
        return dict(connection.scalars(query).one())


@pytest.mark.parametrize("size", SIZES)
def test_plus_and_minus_while_a_clip_plays(site: Site, visitor: Callable[..., Any], size: str) -> None:
    site.project("swing", kind="live", votes=1)
    film = filmed(site)
    site.ask("swing", "live", [(film,)], votes=1)
    page = visitor(*SIZES[size])
    page.goto(f"{site.address}/projects/swing/label")
    shown(page)
    assert page.evaluate("document.querySelector('#main video').duration") == pytest.approx(film.seconds, abs=0.04)

    page.keyboard.press("+")
    page.get_by_text("Play the clip first").wait_for()
    assert page.input_value("input[name=signals]") in ("", "[]")
    page.keyboard.press("p")
    windows = []
    for seconds, key in ((0.4, "+"), (0.9, "ArrowDown"), (1.4, "-"), (1.9, "=")):
        plays_past(page, seconds)
        windows.append(pressed(page, key))
        if key == "-":  # a slip
            page.keyboard.press("Backspace")
            windows.pop()
    assert page.locator("[data-tally]").inner_text() == "+−+"
    page.screenshot(path=site.shots / f"live-{size}.png", full_page=True)
    assert violations(page) == []
    assert fits(page)
    plays_past(page, film.seconds - 0.1)
    page.wait_for_function("() => document.querySelector('#main video').ended")  # once, not for ever
    first = seat(page)
    page.keyboard.press("Enter")
    assert after(page, first) == ""
    page.wait_for_timeout(200)
    assert said(site) == 1

    signals = answer(site)["signals"]
    assert [value for _, value in signals] == [1.0, -1.0, 1.0]
    for (at, _), (earliest, latest) in zip(signals, windows, strict=True):
        assert earliest - 0.01 <= at <= latest + 0.05
        assert latest - earliest < 0.4  # else the window would prove nothing

    page.goto(f"{site.address}/projects/swing/label")
    page.get_by_role("heading", name="Nothing to do right now").wait_for()
    (row,) = rows(site.database, "swing", kind="live")
    record = Said(
        items=items_of(row),
        answer=row["answer"],
        spec={},
        rater=row["rater"],
        time=row["time"],
        seconds=None,
        left=None,
    )
    (timed,) = records_of("live", record)
    assert isinstance(timed, TimedSignal)
    assert timed.signals == tuple(map(tuple, signals))
    assert page.troubles == []


def test_what_was_taken_back_is_still_there(site: Site, visitor: Callable[..., Any]) -> None:
    site.project("swing", kind="live", votes=2)
    site.ask("swing", "live", [(filmed(site, seed),) for seed in (0, 1)], votes=2)
    page = visitor()
    page.goto(f"{site.address}/projects/swing/label")
    shown(page)
    first = seat(page)
    page.keyboard.press("p")
    plays_past(page, 0.5)
    page.keyboard.press("+")
    page.keyboard.press("Enter")
    second = after(page, first)
    page.wait_for_timeout(300)
    before = answer(site)["signals"]
    page.keyboard.press("u")
    assert after(page, second) == first
    assert page.locator("[data-tally]").inner_text() == "+"
    shown(page)
    page.keyboard.press("p")
    plays_past(page, 1.0)
    page.keyboard.press("-")
    page.keyboard.press("Enter")
    after(page, first)
    page.wait_for_timeout(300)
    now = answer(site)["signals"]
    assert now[0] == before[0]
    assert [value for _, value in now] == [1.0, -1.0]


def test_a_clip_that_does_not_decode_can_be_skipped(site: Site, visitor: Callable[..., Any]) -> None:
    site.project("swing", votes=1)
    good, other = filmed(site, 0), filmed(site, 1)
    (site.clips / "broken.mp4").write_bytes(b"\0\0\0\x18ftypisom" + b"no video at all " * 200)
    broken = Clip(media="broken.mp4", digest="broken", seconds=1.0)
    gone = Clip(media="gone.mp4", digest="gone", seconds=1.0)
    page = visitor(*SIZES["telephone"])
    sentence = "This clip cannot be played here"
    for at, (pair, expected) in enumerate((((good, other), 0), ((good, broken), 1), ((broken, gone), 2))):
        site.project(f"swing{at}", votes=1)
        site.ask(f"swing{at}", "pair", [pair], votes=1)
        page.goto(f"{site.address}/projects/swing{at}/label")
        page.wait_for_function(
            "expected => document.querySelectorAll('[data-unplayable]:not([hidden])').length === expected", arg=expected
        )
        if not expected:
            shown(page)
        page.wait_for_timeout(300)
        assert page.get_by_role("alert").filter(has_text=sentence).count() == expected
    page.screenshot(path=site.shots / "unplayable-telephone.png", full_page=True)
    assert violations(page) == []
    assert fits(page)
    page.keyboard.press("s")
    page.get_by_role("heading", name="Nothing to do right now").wait_for()
    page.wait_for_timeout(200)
    assert said(site, "skip") == 1
    assert said(site) == 0


@pytest.mark.parametrize("size", SIZES)
def test_two_clips_in_step_and_frame_by_frame(site: Site, visitor: Callable[..., Any], size: str) -> None:
    """Drawn only now, while the page waits; then they play in step, over and over, and go on by one frame of each."""
    site.project("swing", votes=1)
    site.ask("swing", "pair", [kept(site, "Pendulum-v1", 30.0, (30, 24))], votes=1)
    page = visitor(*SIZES[size])
    page.goto(f"{site.address}/projects/swing/label")
    page.wait_for_function("() => document.querySelectorAll('[data-drawing]:not([hidden])').length === 2")
    assert page.get_by_text("This clip is being drawn").count() == 2
    page.screenshot(path=site.shots / f"drawing-{size}.png", full_page=True)
    assert violations(page) == []
    assert fits(page)
    first = seat(page)
    work(Bench(database=site.database, clips=site.clips))
    page.wait_for_function("() => document.querySelectorAll('#main video:not([hidden])').length === 2")
    shown(page)
    assert page.locator("[data-drawing]:not([hidden])").count() == 0
    assert seat(page) == first  # nothing was loaded anew but the videos

    # They begin by themselves, and again when both are over; the shorter one waits for the longer one.
    page.evaluate(
        "() => { window.rounds = [0, 0]; window.apart = 0; const all = [...document.querySelectorAll('#main video')];"
        " all.forEach((each, at) => each.addEventListener('ended', () => window.rounds[at]++));"
        " all[1].addEventListener('timeupdate', () => { if (!all[1].ended && !all[0].ended && !all[0].paused)"
        " window.apart = Math.max(window.apart, Math.abs(all[0].currentTime - all[1].currentTime)); }); }"
    )
    page.wait_for_function("() => window.rounds[0] >= 2 && window.rounds[1] >= 2", timeout=15_000)
    assert abs(page.evaluate("window.rounds[0] - window.rounds[1]")) <= 1
    assert page.evaluate("window.apart") < 0.2

    paused = "() => [...document.querySelectorAll('#main video')].every((each) => each.paused)"
    page.keyboard.press("Space")
    page.wait_for_function(paused)
    stood = times(page)
    page.wait_for_timeout(300)
    assert times(page) == stood
    for _ in range(40):  # to the first frame, and no further
        page.keyboard.press(",")
    stands(page, 0.001, 0.001)
    for frame in (1, 2, 3):
        page.keyboard.press(".")
        stands(page, frame / 30 + 0.001, frame / 30 + 0.001)
    page.keyboard.press(",")
    stands(page, 2 / 30 + 0.001, 2 / 30 + 0.001)
    for _ in range(40):  # to the last frame of each
        page.keyboard.press(".")
    stands(page, 23 / 30 + 0.001, 29 / 30 + 0.001, within=1 / 30)  # Chromium may call the last frame the end
    page.screenshot(path=site.shots / f"film-{size}.png", full_page=True)
    assert violations(page) == []
    assert fits(page)
    boxes = [page.locator("#main video").nth(at).bounding_box() for at in (0, 1)]
    assert (boxes[0]["y"] == boxes[1]["y"]) == (size != "telephone")  # side by side, or stacked

    page.keyboard.press("p")
    page.wait_for_function("() => [...document.querySelectorAll('#main video')].some((each) => !each.paused)")
    page.locator("#main video").first.click()  # one of them
    page.wait_for_function(paused)
    page.keyboard.press("1")
    page.get_by_role("heading", name="Nothing to do right now").wait_for()
    page.wait_for_timeout(200)
    assert answer(site)["choice"] in ("a", "b")
    assert page.troubles == []


def test_who_minds_movement_starts_it_and_one_that_fails_says_so(site: Site, visitor: Callable[..., Any]) -> None:
    site.project("swing", votes=1)
    good, other = kept(site, "CartPole-v1", 50.0, (12, 12))
    (site.clips / other.steps).unlink()
    site.ask("swing", "pair", [(good, other)], votes=1)
    page = visitor(reduced_motion="reduce")
    page.goto(f"{site.address}/projects/swing/label")
    page.wait_for_function("() => document.querySelectorAll('[data-drawing]:not([hidden])').length === 2")
    work(Bench(database=site.database, clips=site.clips))
    page.wait_for_function("() => document.querySelectorAll('[data-unplayable]:not([hidden])').length === 1")
    page.wait_for_function("() => document.querySelectorAll('#main video:not([hidden])').length === 1")
    page.wait_for_timeout(400)
    assert times(page) == [0, 0]
    page.keyboard.press(".")
    stands(page, 1 / 50 + 0.001)
