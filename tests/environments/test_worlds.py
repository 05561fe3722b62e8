"""Copies give the same numbers in any number of processes, hide ends when asked, and fail with one clear error."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.environments import odd
from tests.environments.playing import ENVIRONMENTS, IDS, act, bits, needs

from tercih.environments.control import ControlError
from tercih.environments.worlds import Worlds


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    odd.register()
    yield
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(("environment", "options"), ENVIRONMENTS, ids=IDS)
def test_processes_change_no_bit(environment: str, options: dict[str, Any]) -> None:
    needs(environment)
    found, ends = [], 0
    for processes in (1, 2, 3):
        with Worlds(environment, 5, options=options, seed=7, processes=processes) as worlds:
            first = worlds.reset()
            taken = act(worlds, 60)
            assert np.array_equal(worlds.observation_N, taken[-1].observation_N)
            ends += int(sum(step.ended_N.sum() for step in taken))
            found.append((first.tobytes(), bits(taken)))
    assert found[0] == found[1] == found[2]
    assert ends > 0


def test_a_copy_does_not_depend_on_the_others() -> None:
    found = []
    for count in (2, 4):
        with Worlds("CartPole-v1", count) as worlds:
            first = worlds.reset()
            assert len({row.tobytes() for row in first}) == count
            rng = np.random.default_rng(0)
            found.append(bits([worlds.step(rng.integers(0, 2, 4)[:count]) for _ in range(80)], slice(0, 2)))
    assert found[0] == found[1]


def test_another_seed_gives_other_episodes() -> None:
    firsts = set()
    for seed in (0, 1):
        with Worlds("CartPole-v1", 1, seed=seed) as worlds:
            firsts |= {worlds.reset().tobytes(), worlds.reset().tobytes()}
    assert len(firsts) == 4


@pytest.mark.parametrize("processes", [1, 2])
def test_hidden_ends_are_seen_by_the_report_alone(processes: int) -> None:
    with Worlds("CartPole-v1", 3) as worlds:
        worlds.reset()
        open_ = act(worlds, 80)
    with Worlds("CartPole-v1", 3, processes=processes, hide_ends=True) as worlds:
        worlds.reset()
        hidden = act(worlds, 80)
    assert sum(step.over_N.sum() for step in open_) > 3
    for seen, unseen in zip(open_, hidden, strict=True):
        assert not unseen.over_N.any()
        assert not unseen.terminated_N.any()
        assert not unseen.truncated_N.any()
        assert np.array_equal(unseen.ended_N, seen.over_N)
        assert np.array_equal(unseen.observation_N, seen.observation_N)
        assert np.array_equal(unseen.reward_N, seen.reward_N)
        assert np.array_equal(unseen.following_N, unseen.observation_N)
        n = seen.over_N
        assert not n.any() or not np.array_equal(seen.following_N[n], seen.observation_N[n])


def test_what_was_given_stays_as_it_was() -> None:
    with Worlds("Pendulum-v1", 2, processes=2) as worlds:
        first = worlds.reset()
        before = first.copy()
        taken = act(worlds, 1)[0]
        kept = bits([taken])
        act(worlds, 5)
        assert np.array_equal(first, before)
        assert bits([taken]) == kept


@pytest.mark.parametrize(
    ("environment", "options", "fixed"),
    [
        ("Pendulum-v1", {}, True),
        ("Pendulum-v1", {"max_episode_steps": -1}, False),
        ("CartPole-v1", {}, False),
        ("Counter-v0", {}, False),
        ("HalfCheetah-v5", {}, True),
        ("Hopper-v5", {}, False),
        ("Hopper-v5", {"terminate_when_unhealthy": False}, True),
    ],
)
def test_whether_episodes_are_equally_long(environment: str, options: dict[str, Any], fixed: bool) -> None:
    needs(environment)
    with Worlds(environment, 1, options=options) as worlds:
        assert worlds.fixed_horizon is fixed


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"environment": "Nowhere-v0"}, "'Nowhere-v0' cannot be made here"),
        ({"environment": "antigravity:Nowhere-v0"}, "without a module"),
        ({"environment": "CartPole-v1", "options": {"colour": "red"}}, "cannot be made here"),
        ({"environment": "CartPole-v1", "count": 0}, "at least one copy of CartPole-v1 must run, got 0"),
        ({"environment": "CartPole-v1", "processes": 0}, "2 copies of CartPole-v1 run in 1 to 2 processes, got 0"),
        ({"environment": "CartPole-v1", "processes": 3}, "2 copies of CartPole-v1 run in 1 to 2 processes, got 3"),
    ],
)
def test_what_cannot_be_made(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ControlError, match=said):
        Worlds(**{"count": 2} | asked)


@pytest.mark.parametrize(
    ("environment", "action_N", "said"),
    [
        ("CartPole-v1", [0, 7], r"7\)?, given to copy 1, is no action of CartPole-v1, which takes Discrete\(2\)"),
        ("CartPole-v1", [0, -1], "given to copy 1, is no action"),
        ("CartPole-v1", [0], r"take actions of shape \(2,\) and type int64, got \(1,\)"),
        ("CartPole-v1", [0.0, 1.0], "got .* float64"),
        ("Pendulum-v1", [[0.0], [np.nan]], "nan.*, given to copy 1, is no action of Pendulum-v1"),
        ("Pendulum-v1", [[2.5], [0.0]], "2.5.*, given to copy 0, is no action of Pendulum-v1"),
        ("Pendulum-v1", [0.0, 0.0], r"take actions of shape \(2, 1\)"),
    ],
)
@pytest.mark.parametrize("processes", [1, 2])
def test_actions_that_are_none(environment: str, action_N: list[Any], said: str, processes: int) -> None:
    with Worlds(environment, 2, processes=processes) as worlds:
        worlds.reset()
        with pytest.raises(ControlError, match=said):
            worlds.step(action_N)
        act(worlds, 1)  # nothing was acted, all goes on


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ("Broken-v0", "not finite, in copy 0 after the action"),
        ("Misshapen-v0", r"Misshapen-v0 gave an observation of shape \(3,\)"),
        ("Raising-v0", "Raising-v0 cannot act on .*: the gears are stuck$"),
    ],
)
@pytest.mark.parametrize("processes", [1, 2])
def test_an_environment_that_breaks(environment: str, said: str, processes: int) -> None:
    with Worlds(environment, 2, processes=processes) as worlds:
        worlds.reset()
        act(worlds, 2)
        with pytest.raises(ControlError, match=said):
            act(worlds, 1)
        with pytest.raises(ControlError, match="are closed"):
            act(worlds, 1)


@pytest.mark.parametrize("when", ["waiting", "stepping"])
def test_a_process_that_dies_is_one_error(when: str) -> None:
    began = time.monotonic()
    with Worlds("CartPole-v1", 4, processes=3) as worlds:
        worlds.reset()
        act(worlds, 3)
        victim = worlds.away[1].process
        if when == "waiting":
            os.kill(victim.pid, signal.SIGKILL)
            victim.join(5)
        else:
            os.kill(victim.pid, signal.SIGSTOP)  # so that the step is asked for, but never made
            subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -KILL {victim.pid}"])
        with pytest.raises(ControlError, match=r"of CartPole-v1 was killed by SIGKILL .* start the run again"):
            act(worlds, 1)
    assert time.monotonic() - began < 20


def test_mujoco_writes_no_log_where_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("HalfCheetah-v5")
    monkeypatch.chdir(tmp_path)
    with Worlds("HalfCheetah-v5", 2, processes=2) as worlds:  # whose file MuJoCo warns about
        worlds.reset()
    assert not list(tmp_path.iterdir())


LEARNER = """
import multiprocessing.forkserver as server, signal, sys
from tercih.environments.worlds import Worlds
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, where a shell started the tests in the background
if __name__ == "__main__":
    worlds = Worlds("CartPole-v1", 6, processes=3)
    worlds.reset()
    print(*(each.process.pid for each in worlds.away), server._forkserver._forkserver_pid, flush=True)
    while True:
        worlds.step([worlds.action_space.sample() for _ in range(6)])
"""


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_its_learner(how: signal.Signals) -> None:
    learner = subprocess.Popen([sys.executable, "-c", LEARNER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert learner.stdout
    others = [int(pid) for pid in learner.stdout.readline().split()]
    assert len(others) == 3
    assert all(map(alive, others))
    try:
        learner.send_signal(how)
        learner.wait(20)
        until = time.monotonic() + 20
        while any(map(alive, others)) and time.monotonic() < until:
            time.sleep(0.05)
        assert not any(map(alive, others))
    finally:
        learner.kill()
        learner.wait()
        learner.stdout.close()
