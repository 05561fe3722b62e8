"""What was done, from acting to what networks read, and all that demonstrations can be and must not."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from tercih.agents.demonstrations import demonstrated, record
from tercih.data.steps import Array, Steps, read_steps, write_steps
from tercih.data.trajectories import Trajectory, steps_of
from tercih.environments.control import ControlError, World, replay
from tercih.environments.worlds import Worlds
from tercih.models.control import ActorCritic

CARTPOLE, PENDULUM = "CartPole-v1", "Pendulum-v1"


@pytest.fixture
def cartpole() -> Iterator[Worlds]:
    with Worlds(CARTPOLE, 3, seed=4) as worlds:
        yield worlds


@pytest.fixture
def pendulum() -> Iterator[Worlds]:
    with Worlds(PENDULUM, 1, options={"g": 9.0, "max_episode_steps": 20}) as worlds:
        yield worlds


def balance(observation_N: Array) -> Array:
    return (observation_N @ np.array([0.1, 0.4, 3.0, 1.0]) > 0).astype(np.int64)


def at_random(seed: int = 0) -> Any:
    dice = np.random.default_rng(seed)
    return lambda observation_N: dice.integers(0, 2, len(observation_N))


def policy_of(worlds: Worlds) -> ActorCritic:
    return ActorCritic(worlds.observation_space, worlds.action_space)


def test_recorded_episodes_are_whole_and_can_be_acted_again(cartpole: Worlds, tmp_path: Path) -> None:
    record(at_random(1), cartpole, 2)  # the copies' episodes no longer begin with their first
    steps = record(at_random(), cartpole, 7)
    assert len(steps.starts) == len(steps.seeds) == 7
    assert len(set(steps.seeds.tolist())) == 7
    assert np.flatnonzero(steps.terminated).tolist() == [*(steps.starts[1:] - 1).tolist(), len(steps) - 1]
    write_steps(tmp_path / "a.npz", steps)
    again = read_steps(tmp_path / "a.npz")
    with World(CARTPOLE) as world:
        for at, step in enumerate(replay(world, again.actions, again.starts, again.seeds)):
            assert np.array_equal(step.observation, steps.observations[at])
            assert np.array_equal(step.following, steps.following[at])
            assert step.reward == steps.rewards[at]


def test_ends_by_a_time_limit_are_told_apart(pendulum: Worlds) -> None:
    steps = record(lambda observation_N: np.zeros((1, 1), np.float32), pendulum, 2)
    assert steps.truncated.nonzero()[0].tolist() == [19, 39]
    assert not steps.terminated.any()
    assert dict(steps.options) == {"g": 9.0, "max_episode_steps": 20}


def test_networks_read_what_the_environment_had(cartpole: Worlds, pendulum: Worlds) -> None:
    steps = record(balance, cartpole, 1)
    read = demonstrated(steps, cartpole, policy_of(cartpole))
    assert np.array_equal(read.observation_B.numpy(), steps.observations)
    assert np.array_equal(read.following_B.numpy(), steps.following)
    assert np.array_equal(read.action_B.numpy(), steps.actions)
    steps = record(lambda observation_N: observation_N[:, :1], pendulum, 1)
    assert demonstrated(steps, pendulum, policy_of(pendulum)).action_B.shape == (20, 1)


def test_only_the_clip_is_imitated(cartpole: Worlds) -> None:
    steps = record(balance, cartpole, 1)
    per_step = ("observations", "following", "rewards", "terminated", "truncated")
    clip = replace(steps, first=490, **{name: getattr(steps, name)[490:] for name in per_step})
    read = demonstrated(clip, cartpole, policy_of(cartpole))
    assert np.array_equal(read.action_B.numpy(), steps.actions[490:])


@pytest.mark.parametrize("space", [spaces.Discrete(3, start=5), spaces.Box(-2, 2, (2, 2))], ids=["discrete", "box"])
def test_actions_are_drawn_as_the_environment_had_them(space: Any) -> None:
    space.seed(0)
    policy = ActorCritic(spaces.Box(-1, 1, (3,)), space)
    action_B = np.stack([space.sample() for _ in range(9)])
    drawn_B = policy.as_drawn(action_B)
    assert drawn_B.shape == policy.act(torch.zeros(9, 3), torch.zeros(9, policy.actor.out_features)).shape
    assert np.array_equal(policy.for_environment(drawn_B), action_B)


def short(**rest: Any) -> Steps:
    values: dict[str, Any] = {"observations": np.zeros((4, 4), np.float32), "actions": np.array([0, 1, 1])}
    return steps_of([Trajectory(**values | rest)], CARTPOLE)


UNKNOWN = np.zeros((4, 4), np.float32)
UNKNOWN[2, 1] = np.nan


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (replace(short(), environment="Acrobot-v1"), "demonstrations of Acrobot-v1, but the agent acts in CartPole-v1"),
        (short(observations=np.zeros((4, 6))), r"observations of the demonstrations have the shape \(6,\)"),
        (short(actions=np.zeros((3, 1), int)), r"actions of the demonstrations have the shape \(1,\)"),
        (short(observations=UNKNOWN), "observations of the demonstrations are not finite at step 2"),
        (short(actions=np.array([0, 2, 1])), "step 1 of the demonstrations acts np.int64.2., which is no action"),
        (short(actions=np.array([0, 0.5, 1])), "which is no action of CartPole-v1"),
    ],
)
def test_demonstrations_that_cannot_be_are_refused(cartpole: Worlds, steps: Steps, said: str) -> None:
    demonstrated(short(), cartpole, policy_of(cartpole))
    with pytest.raises(ControlError, match=said):
        demonstrated(steps, cartpole, policy_of(cartpole))


def test_actions_beyond_the_bounds_are_refused(pendulum: Worlds) -> None:
    steps = steps_of([Trajectory(observations=np.zeros((3, 3)), actions=np.array([[2.0], [-2.1]]))], PENDULUM)
    with pytest.raises(ControlError, match=r"step 1 .* no action of Pendulum-v1"):
        demonstrated(steps, pendulum, policy_of(pendulum))


def test_recording_says_what_it_cannot(cartpole: Worlds) -> None:
    with pytest.raises(ControlError, match="episodes >= 1"):
        record(balance, cartpole, 0)
    with Worlds(CARTPOLE, 1, hide_ends=True) as endless, pytest.raises(ControlError, match="without hide_ends"):
        record(balance, endless, 1)


def test_steps_without_seeds_cannot_be_acted_again() -> None:
    steps = short()
    with World(CARTPOLE) as world, pytest.raises(ControlError, match="tell no seeds"):
        list(replay(world, steps.actions, steps.starts, steps.seeds))
