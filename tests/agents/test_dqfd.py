"""Demonstrations in Q-learning: the margin, what is drawn, and that both memories are judged by the newest reward."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from agents.test_off_policy import assert_same
from tercih.agents.clips import Schedule
from tercih.agents.demonstrations import record
from tercih.agents.dqfd import DQfD, DQfDLearner, margin_loss
from tercih.agents.dqn import DQN
from tercih.agents.ibarz import Demonstrated, FromDemonstrationsAndPreferences, episodes_of, memory_of
from tercih.agents.preferences import Asking
from tercih.agents.reward_learner import RewardLearner, RewardLearning
from tercih.conformance.clips import Oracle
from tercih.environments import maze
from tercih.environments.control import ControlError
from tercih.environments.worlds import Worlds

MAZE = "Tercih/Maze-v0"
SETTINGS = DQfD(dqn=DQN(hidden=(8,), batch=8, capacity=60, starts=1), pretrain=3)


def shown(worlds: Worlds, steps: int = 40) -> Demonstrated:
    seen, rows = worlds.reset()[0], []
    for _ in range(steps):
        action = maze.planned(seen)
        made = worlds.step(np.array([action]))
        rows.append((seen, action, made.following_N[0]))
        seen = made.observation_N[0]
    observation_T, action_T, following_T = zip(*rows, strict=True)
    return Demonstrated(
        observation_T=np.stack(observation_T), action_T=np.array(action_T), following_T=np.stack(following_T)
    )


def ibarz(worlds: Worlds, length: int = 40, **options: object) -> FromDemonstrationsAndPreferences:
    with Worlds(MAZE, 1, seed=9) as others:
        demonstrations = [shown(others, length)]
    learner = RewardLearner(
        RewardLearning(hidden=(8,), updates=2, first_updates=3), worlds.observation_space, worlds.action_space
    )
    return FromDemonstrationsAndPreferences(
        settings=SETTINGS, worlds=worlds, asking=Asking(learner=learner, answers=Oracle(), random_share=1.0),
        schedule=Schedule(labels=20), shown=demonstrations, clip=10, steps=5, length=40, auto=6, **options,  # type: ignore[arg-type]
    )  # fmt: skip


def test_what_was_shown_shall_lead_by_the_margin() -> None:
    value_BA = torch.tensor([[3.0, 1.0], [1.5, 1.0], [1.0, 3.0]])
    loss_B = margin_loss(value_BA, torch.tensor([0, 0, 0]), 1.0)
    assert loss_B.tolist() == [0.0, 0.5, 3.0]


def test_demonstrations_are_drawn_more_and_weighed_less() -> None:
    with Worlds(MAZE, 1) as worlds:
        memory = memory_of([shown(worlds)], worlds)
        learner = DQfDLearner(SETTINGS, worlds.observation_space, worlds.action_space, memory)
        for _ in range(40):
            seen_N, following_N = memory.observation[:1].numpy(), memory.following[:1].numpy()
            learner.remember(seen_N, np.zeros(1, np.int64), following_N, np.zeros(1), np.zeros(1, bool))
    learner.error_shown[:40] = learner.error_lived[:40] = 1.0
    drawn = [learner._draw(False) for _ in range(100)]
    ours = sum(len(rows[0]) for rows, _ in drawn)
    expected = 4**0.5 / (4**0.5 + 1.001**0.5)  # (|error| + bonus)^α
    assert ours / 800 == pytest.approx(expected, abs=0.05)
    rows, weight_B = next(each for each in drawn if all(map(len, each[0])))
    ratio = float(weight_B[: len(rows[0])].max() / weight_B[len(rows[0]) :].max())
    assert ratio == pytest.approx((4**0.5 / 1.001**0.5) ** -0.4, rel=1e-3)
    rows, _ = learner._draw(True)
    assert (len(rows[0]), len(rows[1])) == (8, 0)


@pytest.mark.parametrize("copies", [1, 3])
def test_both_memories_are_judged_by_the_newest_reward_and_a_clip_of_chance_is_beaten(copies: int) -> None:
    with Worlds(MAZE, copies) as worlds:
        data = ibarz(worlds)
        for step in range(3):
            data.step(step)
    learner = data.asking.learner
    assert learner.target_N3[:6].tolist() == [[1, 0, 0]] * 6
    assert len(learner) == 6 + data.asking.asked
    assert len(data.learner.lived) == 60  # wrapped around
    assert (data.taken, data.learner.updated) == (120 * copies, 3 + 60 * copies)
    for memory in (data.learner.shown, data.learner.lived):
        held = slice(0, len(memory))
        seen = (x[held].numpy() for x in (memory.observation, memory.action, memory.following))
        torch.testing.assert_close(memory.reward[held], torch.as_tensor(learner.ensemble.reward(*seen)))


def test_a_frozen_reward_is_only_compared_with_what_people_say() -> None:
    with Worlds(MAZE, 1) as worlds:
        data = ibarz(worlds, frozen_after=1)
        data.step(0)
        before = [p.clone() for p in data.asking.learner.ensemble.parameters()]
        data.step(1)
        data.step(2)
        data.asking.learner.ahead = {"accuracy": 0.5, "of": 4.0}
        told = data.asking.learner.foreseen()
    assert all(torch.equal(p, q) for p, q in zip(before, data.asking.learner.ensemble.parameters(), strict=True))
    assert told == {"reward/ahead_accuracy": 0.5, "reward/ahead_of": 4.0}
    assert data.asking.learner.foreseen() == {}


def test_without_rewards_nothing_but_demonstrations_is_learned_from() -> None:
    with Worlds(MAZE, 1) as worlds:
        data = ibarz(worlds, rewards=False)
        data.step(0)
    assert not len(data.asking.learner)
    assert not data.learner.lived.reward[: len(data.learner.lived)].any()


def test_a_run_that_was_stopped_ends_with_the_same_bits() -> None:
    with Worlds(MAZE, 1) as worlds, Worlds(MAZE, 1) as others:
        whole, parts = ibarz(worlds), ibarz(others)
        for step in range(4):
            whole.step(step)
            if step == 1:
                parts.load_state_dict(deepcopy(whole.state_dict()))
            if step > 1:
                parts.step(step)
        assert_same(whole.state_dict(), parts.state_dict())


def test_what_was_recorded_is_shown_episode_by_episode() -> None:
    with Worlds(MAZE, 1, seed=3) as worlds:
        steps = record(lambda seen_N: np.array([maze.planned(seen) for seen in seen_N]), worlds, 2)
        found = episodes_of(steps, worlds)
        with pytest.raises(ControlError, match="demonstrations of Elsewhere-v0"):
            episodes_of(replace(steps, environment="Elsewhere-v0"), worlds)
    assert [len(each.action_T) for each in found] == [40, 40]
    assert found[1].observation_T[0].argmax() == steps.observations[40].argmax()
    assert (found[0].following_T[:-1] == found[0].observation_T[1:]).all()


def test_a_demonstration_shorter_than_a_clip_is_refused() -> None:
    with Worlds(MAZE, 1) as worlds:
        with pytest.raises(ControlError, match="a demonstration of 9 steps has no clip of 10"):
            ibarz(worlds, 9)
        ibarz(worlds, 9, rewards=False)  # nothing is compared
