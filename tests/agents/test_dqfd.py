"""Demonstrations in Q-learning: the margin, what is drawn, and that both memories are judged by the newest reward."""

from copy import deepcopy

import numpy as np
import pytest
import torch

from agents.test_off_policy import assert_same
from tercih.agents.clips import Schedule
from tercih.agents.dqfd import DQfD, DQfDLearner, margin_loss
from tercih.agents.dqn import DQN
from tercih.agents.ibarz import Demonstrated, FromDemonstrationsAndPreferences, memory_of
from tercih.agents.preferences import Asking
from tercih.agents.reward_learner import RewardLearner, RewardLearning
from tercih.conformance.clips import Oracle
from tercih.environments import maze
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


def ibarz(worlds: Worlds, **options: object) -> FromDemonstrationsAndPreferences:
    with Worlds(MAZE, 1, seed=9) as others:
        demonstrations = [shown(others)]
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
    ours_B = torch.cat([each[2] for each in drawn])
    expected = 4**0.5 / (4**0.5 + 1.001**0.5)  # (|error| + bonus)^α
    assert float(ours_B.float().mean()) == pytest.approx(expected, abs=0.05)
    mixed = next(each for each in drawn if each[2].any() and not each[2].all())
    ratio = float(mixed[1][mixed[2]].max() / mixed[1][~mixed[2]].max())
    assert ratio == pytest.approx((4**0.5 / 1.001**0.5) ** -0.4, rel=1e-3)
    assert learner._draw(True)[2].all()


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
