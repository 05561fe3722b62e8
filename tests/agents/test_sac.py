import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from tercih.agents.evaluate import returns
from tercih.agents.off_policy import learn
from tercih.agents.replay import Transitions
from tercih.agents.sac import SAC, SACLearner, soft_target, squashed, temperature_loss
from tercih.environments.worlds import Worlds

from .test_networks import separate

OBSERVATIONS, ACTIONS = Box(-1, 1, (3,)), Box(np.float32([-2, 0]), np.float32([2, 10]))
SMALL: dict[str, Any] = {"hidden": (16, 16), "batch": 8, "lr": 1e-2}


def learner(**settings: Any) -> SACLearner:
    return SAC(**SMALL | settings).learner(OBSERVATIONS, ACTIONS, seed=0)


def a_batch(seed: int = 0, rows: int = 8) -> Transitions:
    dice = torch.Generator().manual_seed(seed)
    return Transitions(
        observation_B=torch.randn(rows, 3, generator=dice),
        action_B=torch.rand(rows, 2, generator=dice) * torch.tensor([4.0, 10.0]) - torch.tensor([2.0, 0.0]),
        reward_B=torch.randn(rows, generator=dice),
        following_B=torch.randn(rows, 3, generator=dice),
        discount_B=torch.where(torch.rand(rows, generator=dice) < 0.3, 0.0, 0.99),
    )


def squashed_by_torch(mean_BA: Tensor, log_std_BA: Tensor, noise_BA: Tensor) -> tuple[Tensor, Tensor]:
    law = TransformedDistribution(Normal(mean_BA, log_std_BA.exp()), TanhTransform(cache_size=1))
    action_BA = law.transforms[0](mean_BA + log_std_BA.exp() * noise_BA)
    return action_BA, law.log_prob(action_BA).sum(-1)


def test_the_density_is_that_of_torch_distributions() -> None:
    dice, results = torch.Generator().manual_seed(0), []
    drawn = [2 * torch.randn(50, 4, dtype=torch.float64, generator=dice) for _ in range(4)]
    for function in (squashed, squashed_by_torch):
        mean_BA, log_std_BA = (x.clone().requires_grad_() for x in drawn[:2])
        action_BA, logp_B = function(mean_BA, log_std_BA, drawn[2])
        (logp_B.sum() + (action_BA * drawn[3]).sum()).backward()
        results.append((action_BA.detach(), logp_B.detach(), mean_BA.grad, log_std_BA.grad))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("far", [-60.0, 60.0])
def test_the_density_is_right_where_tanh_has_rounded_to_one(far: float) -> None:
    mean_11 = torch.tensor([[far]], requires_grad=True)
    action_11, logp_1 = squashed(mean_11, torch.zeros(1, 1), torch.zeros(1, 1))
    assert abs(float(action_11.detach())) == 1  # so that log(1 − a²) would be −∞
    exact = -0.5 * math.log(2 * math.pi) - (math.log(4) - 2 * abs(far))  # 1 − tanh² u → 4 e^(−2|u|)
    assert float(logp_1.detach()) == pytest.approx(exact, rel=1e-6)
    logp_1.sum().backward()
    assert float(mean_11.grad) == pytest.approx(math.copysign(2, far), rel=1e-6)


def test_the_target_is_the_definition() -> None:
    batch, values, logp = a_batch(), torch.randn(2, 8), torch.randn(8)
    found = soft_target(batch.reward_B, batch.discount_B, values, logp, torch.tensor(0.3))
    for b in range(8):
        lower = min(float(values[0, b]), float(values[1, b]))
        expected = float(batch.reward_B[b]) + float(batch.discount_B[b]) * (lower - 0.3 * float(logp[b]))
        assert float(found[b]) == pytest.approx(expected, rel=1e-5)


def test_the_temperature_falls_where_there_is_more_entropy_than_asked() -> None:
    for entropy, sign in ((-1.0, 1), (-3.0, -1)):
        log_temperature = torch.tensor(0.5, requires_grad=True)
        temperature_loss(log_temperature, torch.full((4,), -entropy), target_entropy=-2.0).backward()
        assert float(log_temperature.grad) == pytest.approx(sign * 1.0)  # descent goes the other way


def test_an_update_is_the_algorithm_written_out() -> None:
    """Algorithm 1 with two ordinary critics, torch.distributions and Adam as it is by default."""
    ours, batch, tau = learner(tau=0.1), a_batch(), 0.1
    actor = learner().actor
    critics = [separate(ours.critics, k) for k in range(2)]
    targets = [separate(ours.targets, k) for k in range(2)]
    log_alpha = torch.zeros((), requires_grad=True)
    judging = torch.optim.Adam([p for critic in critics for p in critic.parameters()], lr=1e-2)
    acting, cooling = torch.optim.Adam(actor.parameters(), lr=1e-2), torch.optim.Adam([log_alpha], lr=1e-2)
    dice = torch.Generator().manual_seed(0)
    dice.set_state(ours.generator.get_state())

    for _ in range(3):
        ours.update(batch)
        alpha = log_alpha.detach().exp()
        with torch.no_grad():
            after, logp = squashed_by_torch(*actor(batch.following_B), torch.randn(8, 2, generator=dice))
            lower = torch.min(*(target(torch.cat([batch.following_B, after], 1)) for target in targets))
            aim = batch.reward_B + batch.discount_B * (lower - alpha * logp)
        within = (batch.action_B - torch.tensor([0.0, 5.0])) / torch.tensor([2.0, 5.0])
        seen = torch.cat([batch.observation_B, within], 1)
        loss = sum(0.5 * (critic(seen) - aim).square().mean() for critic in critics)
        judging.zero_grad()
        loss.backward()
        judging.step()
        new, logp = squashed_by_torch(*actor(batch.observation_B), torch.randn(8, 2, generator=dice))
        lower = torch.min(*(critic(torch.cat([batch.observation_B, new], 1)) for critic in critics))
        acting.zero_grad()
        (alpha * logp - lower).mean().backward()
        acting.step()
        cooling.zero_grad()
        (-log_alpha * (logp.detach() - 2).mean()).backward()
        cooling.step()
        with torch.no_grad():
            for target, critic in zip(targets, critics, strict=True):
                for followed, online in zip(target.parameters(), critic.parameters(), strict=True):
                    followed.mul_(1 - tau).add_(tau * online)

    near = {"rtol": 1e-3, "atol": 1e-4}
    torch.testing.assert_close(list(ours.actor.parameters()), list(actor.parameters()), **near)
    for k in range(2):
        for mine, plain in ((ours.critics, critics[k]), (ours.targets, targets[k])):
            torch.testing.assert_close(list(separate(mine, k).parameters()), list(plain.parameters()), **near)
    torch.testing.assert_close(ours.log_temperature.detach(), log_alpha.detach(), **near)


def test_the_actors_step_asks_nothing_of_the_critics() -> None:
    ours = learner()
    ours.update(a_batch())
    left = [p.grad.clone() for p in ours.critics.parameters()]
    again = learner()
    again.actor_optimiser.step = lambda: None  # type: ignore[method-assign, assignment]
    again.actor_optimiser.zero_grad = again.critics.zero_grad  # what critics hold after it comes from the actor's pass
    again.update(a_batch())
    assert all(float(gradient.abs().sum()) > 0 for gradient in left)
    assert all(p.grad is None for p in again.critics.parameters())
    assert all(p.requires_grad for p in again.critics.parameters())


def test_actions_are_within_the_environments_bounds_and_reach_them() -> None:
    ours = learner(starts=10)
    for taken in (0, 100):
        action_NA = ours.explore(torch.randn(4000, 3), taken).numpy()
        assert all(ACTIONS.contains(action) for action in action_NA)
        assert (action_NA.min(0) < [-1.5, 1]).all()
        assert (action_NA.max(0) > [1.5, 9]).all()
    with torch.no_grad():
        ours.actor.head.bias[:2] = 1e6
    assert ours.exploit(torch.randn(2, 3)).tolist() == [[2, 10]] * 2


def test_exploiting_is_the_middle_and_draws_nothing() -> None:
    ours, state_NO = learner(), torch.randn(5, 3)
    assert torch.equal(ours.exploit(state_NO), ours.exploit(state_NO))
    assert not torch.equal(ours.explore(state_NO, 10_000), ours.explore(state_NO, 10_000))


@pytest.mark.parametrize(
    ("spaces", "words"),
    [
        ((OBSERVATIONS, Discrete(3)), "DQN takes Discrete"),
        ((OBSERVATIONS, Box(-np.inf, np.inf, (2,))), "bounded Box"),
        ((Box(0, 255, (84, 84, 3), np.uint8), ACTIONS), "one row of numbers"),
    ],
)
def test_spaces_it_cannot_act_in_are_refused(spaces: tuple[Any, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SAC().learner(*spaces, seed=0)


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"lr": 0.0}, {"gamma": 1.5}, {"tau": 0.0}, {"hidden": ()}])
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"sac.{next(iter(wrong))}"):
        SAC(**wrong)


def pendulum(reward: Any) -> float:
    with Worlds("Pendulum-v1", 1) as worlds, Worlds("Pendulum-v1", 1, seed=99) as unseen:
        agent = SAC(hidden=(64, 64), lr=2e-3, batch=128, starts=500)
        trained = learn(agent, worlds, 5000, reward=reward)
        found = returns(trained.likeliest, unseen, 10)
    return sum(found) / len(found)


@pytest.mark.learns
def test_it_swings_the_pendulum_up() -> None:
    assert pendulum(None) >= -250


@pytest.mark.learns
def test_of_a_constant_reward_it_learns_nothing() -> None:
    assert pendulum(lambda observation_B, action_B, following_B: np.ones(len(action_B))) < -700
