from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tercih.agents.dqn import DQN
from tercih.agents.off_policy import OffPolicy, learn
from tercih.agents.sac import SAC
from tercih.checkpoint import Checkpoints
from tercih.environments.control import ControlError
from tercih.environments.worlds import Worlds
from tercih.metrics import read_metrics
from tercih.train import TrainingError

AGENTS: dict[str, Any] = {
    "Pendulum-v1": SAC(hidden=(8,), batch=4, starts=20, capacity=100, n_step=2, update_every=3),
    "CartPole-v1": DQN(hidden=(8,), batch=4, starts=20, capacity=100, target_every=7, explore_over=50),
}


def assert_same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


class Killed(Exception):
    pass


@pytest.mark.parametrize("environment", AGENTS)
def test_a_run_that_was_killed_ends_with_the_same_bits(environment: str, tmp_path: Path) -> None:
    def run(name: str, die_after: int = 0) -> dict[str, Any]:
        def watch(step: int, _: Mapping[str, float]) -> None:
            if step + 1 == die_after:
                raise Killed

        with Worlds(environment, 2, seed=3) as worlds:
            trained = learn(AGENTS[environment], worlds, 280, tmp_path / name, row=40, save_every=0.0, on_step=watch)
            return trained.state_dict()

    whole = run("whole")
    for die_after in (2, 5):
        with pytest.raises(Killed):
            run("parts", die_after)
    assert_same(run("parts"), whole)
    first, second = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "parts"))
    assert first == second
    assert len(read_metrics(tmp_path / "whole")) == 7
    saved = Checkpoints(tmp_path / "parts" / "checkpoints").load()
    assert saved is not None
    assert saved[0] == 7
    assert_same(saved[1], whole)


def trainer(environment: str = "Pendulum-v1", copies: int = 2, **options: Any) -> tuple[Worlds, OffPolicy]:
    worlds = Worlds(environment, copies)
    return worlds, OffPolicy(AGENTS[environment], worlds, row=options.pop("row", 20), **options)


@pytest.mark.parametrize(("copies", "every", "updates"), [(1, 1, 1), (2, 3, 1), (5, 2, 4)])
def test_as_many_updates_as_said_and_none_before_the_start(copies: int, every: int, updates: int) -> None:
    agent = SAC(hidden=(8,), batch=4, starts=30, update_every=every, updates=updates)
    with Worlds("Pendulum-v1", copies) as worlds:
        made = OffPolicy(agent, worlds, row=120)
        count, update = [], made.learner.update
        made.learner.update = lambda batch: count.append(made.taken) or update(batch)  # type: ignore[method-assign]
        made.step(0)
    times = [taken for taken in range(copies, 121, copies) if taken >= 30 and taken // copies % every == 0]
    assert count == [taken for taken in times for _ in range(updates)]


def test_rewards_from_outside_are_learned_from_and_the_environments_are_told() -> None:
    def reward(observation_N: Any, action_N: Any, following_N: Any) -> Any:
        return action_N[:, 0] + following_N[:, 0] - observation_N[:, 0]

    worlds, made = trainer(reward=reward, row=400)
    with worlds:
        metrics = made.step(0)
    memory = made.replay
    expected = memory.action[:, 0] + memory.following[:, 0] - memory.observation[:, 0]
    torch.testing.assert_close(memory.reward, expected)
    assert metrics["episodes"] == 2
    assert metrics["episode_length"] == 200
    assert metrics["return"] < -500
    assert abs(metrics["learned_return"]) < 420


def test_another_reward_holds_for_what_was_and_what_comes() -> None:
    worlds, made = trainer(row=40)
    with worlds:
        made.step(0)
        assert (made.replay.reward[:40] < 0).all()
        made.relabel(lambda observation_N, action_N, following_N: np.full(len(action_N), 2.0))
        made.step(1)
    assert (made.replay.reward[: len(made.replay)] == 2).all()


def test_a_reward_that_is_not_finite_is_one_clear_error() -> None:
    worlds, made = trainer(reward=lambda observation_N, action_N, following_N: np.full(len(action_N), np.nan))
    with worlds, pytest.raises(ControlError, match="not finite"):
        made.step(0)


def test_an_explosion_ends_the_run() -> None:
    with (
        Worlds("Pendulum-v1", 1) as worlds,
        pytest.raises(TrainingError, match=r"step 1: critic_loss is inf.*smaller size"),
    ):
        learn(
            SAC(hidden=(8,), starts=150, batch=8), worlds, 300, row=100,
            reward=lambda observation_N, action_N, following_N: np.full(len(action_N), 1e30),
        )  # fmt: skip


def test_what_does_not_fit_is_said() -> None:
    worlds, made = trainer()
    with worlds, Worlds("Pendulum-v1", 4) as four, pytest.raises(ControlError, match="its count is 2, here it is 4"):
        OffPolicy(AGENTS["Pendulum-v1"], four, row=20).load_state_dict(made.state_dict())
    with Worlds("Pendulum-v1", 3) as worlds:
        with pytest.raises(ValueError, match="all 3 copies, got row 20"):
            OffPolicy(SAC(), worlds, row=20)
        with pytest.raises(ValueError, match="rows of 30, got 100"):
            learn(SAC(), worlds, 100, row=30)
