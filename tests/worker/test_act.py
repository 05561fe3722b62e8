"""A worker acts before a rater, who is played by a thread: pace, hearing, files, and what goes wrong."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tercih.agents.live import Taught
from tercih.commands.worker import Worker, main
from tercih.config import ConfigError
from tercih.data.steps import read_steps
from tercih.environments.control import World
from tercih.environments.override import Log
from tercih.feedback import acts, jobs
from tercih.feedback.acts import Signal
from tercih.feedback.exchange.export import items_of, rows
from tercih.feedback.kinds import AnswerError
from tercih.feedback.projects import Project, make_project
from tercih.feedback.store import Store
from tercih.worker.agents import AGENTS
from tercih.worker.bench import Bench, work
from tercih.worker.clip import render

POLE = Project(id="pole", kind="live", environment="CartPole-v1", act_steps=40, act_rate=25.0)
HEARD: list[tuple[int, int]] = []


class Listener:
    """Goes to the right once it was told +1; keeps when it heard what."""

    def __init__(self, world: World, seed: int) -> None:
        self.steps, self.side = 0, 0
        HEARD.clear()

    def hear(self, signals: Sequence[Signal]) -> None:
        HEARD.extend((self.steps, each.value) for each in signals)
        self.side = 1

    def act(self, observation: Any) -> int:
        self.steps += 1
        return self.side


class Broken(Listener):
    def act(self, observation: Any) -> int:
        if self.steps == 5:
            raise RuntimeError("no idea")
        return super().act(observation)


@pytest.fixture
def act(store: Store) -> int:
    make_project(store.database, POLE)
    return acts.start(store.database, POLE, "ann")


def played(store: Store, act: int, rater: Callable[[acts.Act], bool], bench: Bench) -> None:
    """Both sides at once, until the worker has done its job; `rater` is shown the act until it says it has enough."""
    over = threading.Event()

    def looks() -> None:
        while not over.wait(0.02):
            if rater(acts.look(store.database, act, "ann")):
                return

    person = threading.Thread(target=looks)
    person.start()
    assert work(bench) == 1
    over.set()
    person.join()


def test_the_agent_hears_while_it_acts(store: Store, act: int, tmp_path: Path) -> None:
    pressed: list[int] = []

    def rater(now: acts.Act) -> bool:
        if now.step >= 6 and not pressed:
            pressed.append(now.step)
            acts.press(store.database, act, "ann", value=1, step=now.step, seconds=now.seconds + 0.01, mark="one")
        return False

    began = time.monotonic()
    bench = Bench(database=store.database, clips=tmp_path, agents={"listener": Listener}, agent="listener")
    played(store, act, rater, bench)
    assert time.monotonic() - began >= POLE.act_steps / POLE.act_rate  # at the pace that people were promised
    ((at, value),) = HEARD
    assert value == 1
    assert pressed[0] <= at <= pressed[0] + 5  # while it acts, not when all is over

    (row,) = rows(store.database, "pole")
    (item,) = items_of(row)
    steps = read_steps(tmp_path / item.steps)  # type: ignore[union-attr]
    assert len(steps) == 40
    assert item.seconds == steps.times[-1]  # type: ignore[union-attr]
    assert steps.actions[:at].tolist() == [0] * at
    assert steps.actions[at:].tolist() == [1] * (40 - at)
    assert steps.terminated.sum() >= 1  # several episodes
    assert len(steps.starts) == steps.terminated.sum() + (not steps.terminated[-1])
    assert row["answer"]["steps"] == pressed
    assert (tmp_path / item.media).stat().st_size > 1000  # type: ignore[union-attr]
    assert item.origin == "listener"
    render(tmp_path, item.steps, "again.mp4")  # type: ignore[union-attr]  # it can be acted again


def test_what_goes_wrong_is_told(store: Store, act: int, tmp_path: Path) -> None:
    bench = Bench(database=store.database, clips=tmp_path, agents={"broken": Broken}, agent="broken")
    told: list[str] = []
    work(bench, told.append)
    assert "RuntimeError: no idea" in told[0]
    assert acts.look(store.database, act, "ann").state == "stopped"
    assert len(list(rows(store.database, "pole"))) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"environment": "Nowhere-v0"}, "'Nowhere-v0' cannot be made here"),
        ({"environment": "antigravity:Nowhere-v0"}, "without a module"),
        ({"agent": "os:abort"}, "this worker's agents are random, coach, tamer, not 'os:abort'"),
        ({"steps": 10**9}, "steps must be in"),
        ({"frames_per_second": 0}, "frames_per_second must be in"),
        ({"actions": 3}, "the project names 3 actions"),
    ],
)
def test_what_cannot_be_acted(store: Store, tmp_path: Path, change: dict[str, Any], said: str, act: int) -> None:
    job = jobs.take(store.database, ["act"])
    assert job is not None
    key = jobs.put(store.database, "act", {**job.payload, **change})
    work(Bench(database=store.database, clips=tmp_path))
    outcome = jobs.result(store.database, key)
    assert outcome.state == "failed"
    assert said in outcome.error
    assert acts.look(store.database, act, "ann").state == "stopped"
    assert list(tmp_path.glob("acts/*")) == []


def test_an_act_that_the_rater_ends(store: Store, act: int, tmp_path: Path) -> None:
    def rater(now: acts.Act) -> bool:
        if now.step >= 5:
            acts.end(store.database, act, "ann")
        return now.step >= 5

    played(store, act, rater, Bench(database=store.database, clips=tmp_path))
    (row,) = rows(store.database, "pole")
    assert 5 <= len(read_steps(tmp_path / items_of(row)[0].steps)) < 20  # type: ignore[union-attr]


def test_agents_are_named_on_the_command_line(store: Store, act: int, tmp_path: Path) -> None:
    where = {"database": store.place, "clips": tmp_path, "once": True}
    for wrong in ("nowhere:make", "tercih.worker.agents:nothing", "json", "tercih.worker.agents:__doc__"):
        with pytest.raises(ConfigError, match="--agent"):
            main(Worker(agent=wrong, **where))  # type: ignore[arg-type]
    assert acts.look(store.database, act, "ann").state == "waiting"
    acts.end(store.database, act, "ann")
    main(Worker(agent="tercih.worker.agents:Random", **where))  # type: ignore[arg-type]


def test_a_rater_acts_in_the_agents_place_and_it_is_logged_and_learned_from(store: Store, tmp_path: Path) -> None:
    """From the tenth step on the rater holds what the agent never does, and lets go at the twentieth."""
    pole = replace(POLE, actions="left, right")
    make_project(store.database, pole)
    act = acts.start(store.database, pole, "ann")
    replaced: list[int] = []
    refused: list[int] = []

    class Left(Taught):
        def choose(self, observation: Any) -> Any:
            return np.int64(0)

        def taught(self, observation: Any, action: Any, value: float) -> None:
            replaced.append(int(action) if value > 0 else -int(action))

        def state_dict(self) -> dict[str, Any]:
            return {}

    def rater(now: acts.Act) -> bool:
        for since, action in ((10, 1), (20, -1)):
            if now.step >= since:
                told = {"value": 0, "step": now.step, "seconds": now.seconds, "mark": f"at {since}", "action": action}
                acts.press(store.database, act, "ann", **told)
        if now.step >= 20:
            with pytest.raises(AnswerError, match="there are 2 actions"):
                acts.press(store.database, act, "ann", value=0, step=1, seconds=0.1, mark="third", action=2)
            refused.append(now.step)
        return now.step >= 20

    bench = Bench(database=store.database, clips=tmp_path, agents={"left": lambda *_: Left()}, agent="left")
    played(store, act, rater, bench)
    (row,) = rows(store.database, "pole")
    assert row["answer"]["signals"] == []  # it is no praise
    (item,) = items_of(row)
    done = read_steps(tmp_path / item.steps).actions  # type: ignore[union-attr]
    log = Log.read(next(tmp_path.glob("acts/*.overrides.npz")))
    _, wanted_B, done_B, replaced_B = log.columns()
    assert done_B.tolist() == done.tolist()
    assert wanted_B.tolist() == [0] * 40
    (held,) = np.nonzero(replaced_B)
    assert 7 <= len(held) <= 14
    assert (np.diff(held) == 1).all()
    assert 10 <= held[0] <= 13
    assert item.columns["replaced"] == len(held)
    assert replaced == [1, 0] * len(held)  # one praised, the other blamed
    assert refused
    assert log.who == f"act {acts.key_of(store.database, act)}"


def side_pressing(store: Store, act: int) -> Callable[[acts.Act], bool]:
    """A scripted person who sees how the pole is moved, a little late, and wants it always to go right."""
    seen: list[int] = []

    def rater(now: acts.Act) -> bool:
        if now.step > 0 and now.step not in seen and MOVES[now.step - 1 : now.step]:
            seen.append(now.step)
            value = 1 if MOVES[now.step - 1] == 1 else -1
            mark = f"{act}-{now.step}"
            acts.press(store.database, act, "ann", value=value, step=now.step, seconds=now.seconds + 0.3, mark=mark)
        return False

    return rater


MOVES: list[int] = []


@pytest.mark.parametrize("name", ["coach", "tamer"])
def test_presses_teach_it_and_what_it_learned_outlives_the_worker(
    store: Store, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over the real store: pressed at, heard, learned, saved; the next worker's agent begins where this one ended."""
    make_project(store.database, POLE)
    made: list[Any] = []
    began: list[torch.Tensor] = []

    def weights(agent: Any) -> torch.Tensor:
        return torch.cat(
            [p.detach().flatten() for p in (agent.network if name == "tamer" else agent.policy).parameters()]
        )

    def watched(world: World, seed: int) -> Any:
        made.append(AGENTS[name](world, seed))
        began.append(weights(made[-1]))
        MOVES.clear()
        choose = made[-1].choose

        def told(observation: Any) -> Any:
            MOVES.append(int(choose(observation)))
            return MOVES[-1]

        made[-1].choose = told
        return made[-1]

    bench = Bench(database=store.database, clips=tmp_path, agents={name: watched}, agent=name)
    act = acts.start(store.database, POLE, "ann")
    played(store, act, side_pressing(store, act), bench)
    heard = made[0].heard
    assert heard > 10
    (folder,) = (tmp_path / "agents").iterdir()
    assert name in folder.name

    def killed(*_: Any) -> Any:
        raise KeyboardInterrupt

    act = acts.start(store.database, POLE, "ann")
    with monkeypatch.context() as patch:
        patch.setattr(acts, "show", killed)
        with pytest.raises(KeyboardInterrupt):
            work(bench)
    assert made[1].heard == heard
    assert torch.equal(weights(made[1]), weights(made[0]))
    assert not torch.equal(weights(made[0]), began[0])  # it was taught
    assert not torch.equal(began[1], began[0])  # and does not owe that to its seed
