from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from tercih.agents.dqn import DQN, DQNLearner, double_target, q_target
from tercih.agents.evaluate import returns
from tercih.agents.off_policy import learn
from tercih.agents.replay import Transitions
from tercih.environments.worlds import Worlds

OBSERVATIONS, ACTIONS = Box(-1, 1, (3,)), Discrete(4, start=2)


def learner(**settings: Any) -> DQNLearner:
    return DQN(**{"hidden": (16, 16), "batch": 8} | settings).learner(OBSERVATIONS, ACTIONS, seed=0)


def a_batch() -> Transitions:
    dice = torch.Generator().manual_seed(0)
    return Transitions(
        observation_B=torch.randn(8, 3, generator=dice),
        action_B=2 + torch.randint(4, (8,), generator=dice),
        reward_B=3 * torch.randn(8, generator=dice),
        following_B=torch.randn(8, 3, generator=dice),
        discount_B=torch.tensor([0.0, 0.9] * 4),
    )


def test_targets_on_a_table() -> None:
    online_BA = torch.tensor([[1.0, 5.0, 2.0], [7.0, 0.0, 7.5], [1.0, 2.0, 3.0]])
    target_BA = torch.tensor([[10.0, 20.0, 30.0], [-1.0, 4.0, -2.0], [8.0, 8.0, 8.0]])
    reward_B, discount_B = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, 1.0, 0.0])
    # the online network chooses columns 1, 2, 2; the target network's own best are 2, 1 and any
    assert double_target(reward_B, discount_B, online_BA, target_BA).tolist() == [11.0, 0.0, 3.0]
    assert q_target(reward_B, discount_B, target_BA).tolist() == [16.0, 6.0, 3.0]


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("dueling", [True, False])
def test_the_loss_is_the_definition(double: bool, dueling: bool) -> None:
    ours, batch = learner(double=double, dueling=dueling), a_batch()
    with torch.no_grad():
        ours.target.advantage[-1].bias.copy_(torch.randn(4))
        before, online, judged = (
            network(x).tolist()
            for network, x in (
                (ours.network, batch.observation_B),
                (ours.network, batch.following_B),
                (ours.target, batch.following_B),
            )
        )
    total = 0.0
    for b in range(8):
        chosen = max(range(4), key=(online if double else judged)[b].__getitem__)
        aim = float(batch.reward_B[b]) + float(batch.discount_B[b]) * judged[b][chosen]
        off = abs(before[b][int(batch.action_B[b]) - 2] - aim)
        total += 0.5 * off**2 if off < 1 else off - 0.5
    assert float(ours.update(batch)["loss"]) == pytest.approx(total / 8, rel=1e-5)


def test_the_target_stays_until_it_is_replaced() -> None:
    ours = learner(target_every=3)
    first = [p.clone() for p in ours.target.parameters()]
    for update in range(1, 8):
        ours.update(a_batch())
        same = [torch.equal(a, b) for a, b in zip(ours.target.parameters(), ours.network.parameters(), strict=True)]
        assert all(same) == (update % 3 == 0)
        if update < 3:
            assert all(torch.equal(a, b) for a, b in zip(first, ours.target.parameters(), strict=True))


def test_exploration_falls_in_a_straight_line() -> None:
    settings = DQN(starts=100, explore_over=1000, explore_to=0.1)
    assert [settings.epsilon(taken) for taken in (0, 99, 500, 1000, 9000)] == pytest.approx([1, 1, 0.55, 0.1, 0.1])


def test_as_many_actions_are_random_as_said() -> None:
    ours = learner(starts=1, explore_over=1, explore_to=0.4)
    state_NO = torch.randn(1, 3).expand(20_000, 3)
    best = int(ours.exploit(state_NO)[0])
    action_N = ours.explore(state_NO, 10)
    assert set(action_N.tolist()) == {2, 3, 4, 5}
    assert float((action_N == best).float().mean()) == pytest.approx(0.6 + 0.4 / 4, abs=0.015)
    assert all(ACTIONS.contains(action) for action in action_N.numpy())


def test_frames_are_learned_from() -> None:
    space = Box(0, 255, (4, 84, 84), np.uint8)
    ours = DQN(hidden=(32,), batch=2, lr=1e-3).learner(space, Discrete(3), seed=0)
    frame_B = torch.randint(256, (2, *space.shape), dtype=torch.uint8)
    batch = Transitions(
        observation_B=frame_B, action_B=torch.tensor([0, 2]), reward_B=torch.tensor([1.0, -1.0]), following_B=frame_B,
        discount_B=torch.zeros(2),
    )  # fmt: skip
    losses = [float(ours.update(batch)["loss"]) for _ in range(15)]
    assert losses[-1] < 0.1 * losses[0]


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(ValueError, match="SAC takes a Box"):
        DQN().learner(OBSERVATIONS, Box(-1, 1, (2,)), seed=0)
    with pytest.raises(ValueError, match=r"dqn\.explore_to"):
        DQN(explore_to=2.0)
    with pytest.raises(ValueError, match=r"dqn\.target_every"):
        DQN(target_every=0)


def cartpole(reward: Any) -> float:
    with Worlds("CartPole-v1", 1) as worlds, Worlds("CartPole-v1", 5, seed=99) as unseen:
        agent = DQN(hidden=(64, 64), batch=64, n_step=3, update_every=1, target_every=200, explore_over=4000)
        trained = learn(agent, worlds, 10_000, reward=reward)
        found = returns(trained.likeliest, unseen, 10)
    return sum(found) / len(found)


@pytest.mark.learns
def test_it_balances_the_pole() -> None:
    assert cartpole(None) >= 150


@pytest.mark.learns
def test_of_no_reward_it_learns_nothing() -> None:
    # The environment's own reward is the constant 1, from which one learns because episodes end; from 0 nobody does.
    assert cartpole(lambda observation_B, action_B, following_B: np.zeros(len(action_B))) < 80
