"""A clip that was cut out of a rollout is acted again, from a state or a seed, and shows what the agent saw."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from environments import odd
from environments.playing import needs
from tercih.agents.clip_steps import clip_steps
from tercih.data.steps import Steps, clip_of, keep_steps, read_steps, write_steps
from tercih.environments.control import ControlError, World
from tercih.environments.worlds import Worlds
from tercih.worker.clip import film, frames

COPIES, STEPS = 3, 40
CASES: list[tuple[str, dict[str, Any]]] = [
    ("CartPole-v1", {}),
    ("Pendulum-v1", {"max_episode_steps": 25}),
    ("Hopper-v5", {}),
    ("Reacher-v5", {"max_episode_steps": 25}),
    ("ALE/Pong-v5", {"pixels": 84, "stack": 4}),
]


def rollout(worlds: Worlds, steps: int = STEPS) -> tuple[dict[str, Any], dict[str, Any]]:
    """The state before it, and its arrays of shape (T, N, …)."""
    began, kept = worlds.state_dict(), []
    observation_N = worlds.observation_N
    for _ in range(steps):
        action_N = np.stack([worlds.action_space.sample() for _ in range(len(worlds))])
        made = worlds.step(action_N)
        kept.append((observation_N, action_N, made.following_N, made.reward_N, made.terminated_N, made.truncated_N,
                     made.ended_N))  # fmt: skip
        observation_N = made.observation_N
    names = ("observation", "action", "following", "reward", "terminated", "truncated", "ended")
    return began, dict(zip(names, map(np.stack, zip(*kept, strict=True)), strict=True))


def acted_again(steps: Steps) -> list[Any]:
    """Frames, after what was observed has been compared."""
    with World(steps.environment, steps.options, render=True) as world:
        return list(frames(world, steps))


@pytest.mark.parametrize(("environment", "options"), CASES, ids=[name for name, _ in CASES])
@pytest.mark.parametrize("hide_ends", [False, True])
def test_a_clip_is_acted_again_from_where_the_rollout_began(
    environment: str, options: dict[str, Any], hide_ends: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs(environment)
    monkeypatch.setattr("tercih.worker.clip.World.frame", lambda _: np.zeros((2, 2, 3), np.uint8))
    with Worlds(environment, COPIES, options=options, seed=4, hide_ends=hide_ends) as worlds:
        worlds.action_space.seed(0)
        worlds.reset()
        rollout(worlds, 13)  # so that the next one begins within an episode
        began, made = rollout(worlds)
        for first, length in ((0, 5), (6, 12), (STEPS - 12, 12), (0, STEPS)):
            steps = clip_steps(worlds, began, made, 1, first, length)
            write_steps(tmp_path / "a.npz", steps)
            again = read_steps(tmp_path / "a.npz")
            assert again.digest == steps.digest
            assert len(acted_again(again)) == length
            assert np.array_equal(again.observations, made["observation"][first : first + length, 1])
            assert again.versions["gymnasium"]


def test_an_episode_that_began_in_the_rollout_needs_no_state() -> None:
    with Worlds("CartPole-v1", COPIES, seed=1) as worlds:
        worlds.action_space.seed(0)
        worlds.reset()
        began, made = rollout(worlds)
        ends = np.flatnonzero(made["terminated"][:, 0])
        before, after = (clip_steps(worlds, began, made, 0, int(ends[0]) + at, 4) for at in (-1, 1))
    assert (before.state is None, len(before.actions), before.starts.tolist()) == (False, ends[0] + 3, [ends[0] + 1])
    assert (after.state is None, after.first, after.starts.tolist()) == (True, 0, [0])
    assert after.seeds.tolist() == before.seeds.tolist()
    for each in (before, after):
        assert len(acted_again(each)) == 4


def cut() -> Steps:
    with Worlds("Pendulum-v1", 1, seed=1) as worlds:
        worlds.action_space.seed(0)
        worlds.reset()
        rollout(worlds, 3)
        began, made = rollout(worlds, 12)
        return clip_steps(worlds, began, made, 0, 4, 8)


def test_the_state_is_what_the_clip_begins_with(tmp_path: Path) -> None:
    """Without it, from another one, or with other actions on the way there, it leads elsewhere."""
    steps = cut()
    assert steps.state
    assert len(acted_again(steps)) == 8
    other = {**steps.state["state"], "layers": [
        {name: value for name, value in layer.items() if name != "state"} for layer in steps.state["state"]["layers"]
    ]}  # fmt: skip
    for wrong in (
        replace(steps, state=None, starts=np.array([0]), seeds=np.array([7])),
        replace(steps, state={**steps.state, "state": other}),
        replace(steps, actions=np.concatenate([-steps.actions[:1], steps.actions[1:]])),
    ):
        with pytest.raises(ControlError, match=r"leads elsewhere than when it was saved$"):
            acted_again(wrong)


def test_what_else_is_installed_is_said_only_where_it_matters() -> None:
    older = replace(cut(), versions={"environment": "Pendulum-v0", "gymnasium": "0.1"})
    assert len(acted_again(older)) == 8
    with pytest.raises(ControlError, match=r"elsewhere.*saved with environment Pendulum-v0 \(here Pendulum-v1\)"):
        acted_again(replace(older, actions=-older.actions))


def test_a_state_of_somebody_else_is_refused() -> None:
    steps = cut()
    assert steps.state
    for wrong in ({}, {**steps.state, "seed": "x"}, {**steps.state, "state": {"layers": [], "random": {}}},
                  {**steps.state, "state": 3}):  # fmt: skip
        with pytest.raises(ControlError, match=r"state|cannot be reset"):
            acted_again(replace(steps, state=wrong))
    with pytest.raises(ControlError, match="is of the kind Mujoco"):
        acted_again(replace(steps, state={**steps.state, "kind": "Mujoco"}))


def test_equal_steps_are_one_clip(tmp_path: Path) -> None:
    one, same = cut(), cut()
    assert clip_of(one) == clip_of(same)
    kept = keep_steps(tmp_path, one, "policy 3")
    assert (kept.digest, kept.seconds, kept.columns["rate"]) == (one.digest, round(8 / 30, 3), 30.0)
    assert (kept.id, kept.origin) == (clip_of(same).id, "policy 3")
    assert replace(one, versions={"gymnasium": "0.1"}).digest == one.digest
    assert one.state
    for other in (replace(one, rewards=one.rewards + 1), replace(one, options={"g": 9.0}),
                  replace(one, state={**one.state, "episode": 9}), replace(one, rate=60.0)):  # fmt: skip
        assert other.digest != one.digest
    told, drawn = film(tmp_path, kept.steps, kept.media, kept.digest)
    assert (told["digest"], drawn) == (kept.digest, "own")
    first = (tmp_path / kept.media).read_bytes()
    (tmp_path / kept.media).unlink()
    film(tmp_path, kept.steps, kept.media, kept.digest)
    assert (tmp_path / kept.media).read_bytes() == first
    with pytest.raises(ControlError, match="is not what was asked about"):
        film(tmp_path, kept.steps, kept.media, "0" * 64)


def test_what_is_no_moment_of_a_rollout() -> None:
    with Worlds("CartPole-v1", 2, hide_ends=True) as worlds:
        unborn = worlds.state_dict()
        worlds.reset()
        began, made = rollout(worlds, 10)
        for copy, first, length in ((0, 0, 11), (0, 5, 6), (0, -1, 3), (0, 0, 0), (2, 0, 3)):
            with pytest.raises(ValueError, match=r"is not within a rollout of 10|copy must be one of 2"):
                clip_steps(worlds, began, made, copy, first, length)
        with pytest.raises(ValueError, match='must hold "ended"'):
            clip_steps(worlds, began, {name: made[name] for name in made if name != "ended"}, 0, 0, 3)
        with pytest.raises(ControlError, match=r"reset\(\) them before it"):
            clip_steps(worlds, unborn, made, 0, 0, 3)


def test_an_environment_of_ones_own(tmp_path: Path) -> None:
    """Its state is its episode's actions; it cannot be filmed, but what its steps hold is whole."""
    odd.register()
    with Worlds("Counter-v0", 1, seed=2) as worlds:
        worlds.reset()
        rollout(worlds, 3)
        began, made = rollout(worlds, 4)
        steps = clip_steps(worlds, began, made, 0, 0, 4)
    assert steps.state
    assert len(steps.state["state"]["actions"]) == 3
    write_steps(tmp_path / "a.npz", steps)
    assert read_steps(tmp_path / "a.npz").digest == steps.digest
