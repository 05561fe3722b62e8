"""Agents in rooms: what they see, and what they are rewarded by."""

import numpy as np
import pytest
import torch

from tercih.agents.dqn import DQN
from tercih.agents.mil import InRooms, random_return
from tercih.environments.rooms import Rooms
from tercih.models.remembering import RememberingReward

SETTINGS = DQN(hidden=(8,), batch=8, capacity=200, starts=10, update_every=5)


def rooms() -> Rooms:
    return Rooms(kind="moving", count=3, steps=6, dice=np.random.default_rng(0))


def test_the_agent_is_rewarded_by_what_it_learned_and_sees_what_that_remembers() -> None:
    reward = RememberingReward(2, "csc_lstm")
    agent = InRooms(rooms=rooms(), settings=SETTINGS, sees="memory", reward=reward)
    agent.episode()
    agent.episode()
    replay = agent.replay
    assert len(replay) == 36
    assert agent.learner.updated == 36 // 5 - 9 // 5
    following_BTO = replay.following[18:36].view(6, 3, 4).movedim(0, 1)
    whole = reward(following_BTO[..., :2])
    torch.testing.assert_close(replay.reward[18:36].view(6, 3).T, whole.reward_BT)
    assert whole.hidden_BTH is not None
    torch.testing.assert_close(following_BTO[..., 2:], whole.hidden_BTH)
    assert not replay.observation[18:21, 2:].any()  # a new episode: nothing is remembered
    torch.testing.assert_close(replay.observation[21:36], replay.following[18:33])
    assert replay.terminated[33:36].all()
    assert not replay.terminated[18:33].any()


def test_oracles_see_the_true_reward_with_and_without_what_is_hidden() -> None:
    for sees, width in (("state", 3), ("position", 2)):
        agent = InRooms(rooms=rooms(), settings=SETTINGS, sees=sees, seed=1)  # type: ignore[arg-type]
        earned = agent.episode()
        assert agent.replay.observation.shape[1] == width
        assert float(agent.replay.reward[:18].sum()) == pytest.approx(3 * earned)
    agent = InRooms(rooms=rooms(), settings=SETTINGS, sees="state")
    agent.episode()
    step_TB = agent.replay.following[:18, 2].view(6, 3)
    assert step_TB[:, 0].tolist() == pytest.approx([t / 6 for t in range(1, 7)])
    before = agent.learner.updated
    agent.evaluate()
    assert (len(agent.replay), agent.learner.updated) == (18, before)
    assert 0 <= random_return(rooms(), np.random.default_rng(0)) <= 6


def test_a_reward_belongs_to_who_sees_its_memory() -> None:
    with pytest.raises(ValueError, match="a reward belongs to who sees its memory"):
        InRooms(rooms=rooms(), settings=SETTINGS, sees="memory")
    with pytest.raises(ValueError, match="a reward belongs to who sees its memory"):
        InRooms(rooms=rooms(), settings=SETTINGS, sees="state", reward=RememberingReward(2))
