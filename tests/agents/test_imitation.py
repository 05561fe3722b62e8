"""BC, DAgger, GAIL and AIRL on the loop: what they compute, that they learn, and that they go on after a kill."""

import math
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tercih.agents.adversary import Adversary, Discriminator
from tercih.agents.airl import AIRL
from tercih.agents.bc import BC, Always
from tercih.agents.dagger import DAgger
from tercih.agents.demonstrations import Demonstrated, demonstrated, record
from tercih.agents.evaluate import returns
from tercih.agents.experience import Collector
from tercih.agents.gail import GAIL
from tercih.agents.ppo import PPO
from tercih.data.steps import Array
from tercih.environments.control import ControlError
from tercih.environments.worlds import Worlds
from tercih.forward import Models
from tercih.models.control import ActorCritic
from tercih.optimisation import Optimisation
from tercih.train import fit

CARTPOLE, PENDULUM = "CartPole-v1", "Pendulum-v1"
ADAM = Optimisation(lr=3e-3)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def balance(observation_N: Array) -> Array:
    return (observation_N @ np.array([0.1, 0.4, 3.0, 1.0]) > 0).astype(np.int64)


def policy_of(worlds: Worlds, **rest: Any) -> ActorCritic:
    return ActorCritic(worlds.observation_space, worlds.action_space, **rest)


def told(worlds: Worlds, policy: ActorCritic, episodes: int = 1) -> Demonstrated:
    return demonstrated(record(balance, worlds, episodes), worlds, policy)


# Behavioural cloning


@pytest.mark.learns
def test_bc_balances_the_pole_after_two_episodes() -> None:
    with Worlds(CARTPOLE, 4, seed=0) as worlds, Worlds(CARTPOLE, 8, seed=1) as unseen:
        policy = policy_of(worlds)
        assert np.mean(returns(policy.likeliest, unseen, 8)) < 200
        fit(BC(), Models(policy=policy), Always(acts=told(worlds, policy, 2), steps=20), ADAM)
        assert np.mean(returns(policy.likeliest, unseen, 8)) > 450


def test_every_demonstration_is_in_every_walk() -> None:
    with Worlds(CARTPOLE, 1) as worlds:
        policy = policy_of(worlds)
        acts = told(worlds, policy)
    method, models = BC(epochs=2, minibatch=64), Models(policy=policy)
    parts = list(method.batches(acts, models, {"items": 0}))
    assert [part.rows for part in parts] == 2 * [64, 64, 64, 64, 64, 64, 64, 52]
    for walk in (parts[:8], parts[8:]):
        rows = torch.cat([part.observation_B for part in walk])
        assert torch.equal(rows.sort(0).values, acts.observation_B.sort(0).values)
    assert not torch.equal(parts[0].observation_B, parts[8].observation_B)
    assert torch.allclose(policy.shift_O, acts.observation_B.mean(0), atol=1e-6)


def test_bc_says_what_it_cannot() -> None:
    with pytest.raises(ValueError, match=r"bc.minibatch must be > 0"):
        BC(minibatch=0)
    with pytest.raises(ValueError, match=r"bc.entropy_coef must be >= 0"):
        BC(entropy_coef=-1.0)
    with pytest.raises(ValueError, match="bc trains a"):
        list(BC().batches(None, Models(policy=torch.nn.Linear(1, 1)), {"items": 0}))  # type: ignore[arg-type]


# DAgger


def dagger(worlds: Worlds, policy: ActorCritic, **rest: Any) -> DAgger:
    return DAgger(**{"policy": policy, "worlds": worlds, "expert": balance, "steps": 3, "length": 10} | rest)


def test_rounds_pile_up_and_the_first_is_the_experts() -> None:
    with Worlds(CARTPOLE, 2) as worlds, Worlds(CARTPOLE, 2) as same:
        data = dagger(worlds, policy_of(worlds))
        rounds = [data(step) for step in range(3)]
        observation_N, expected = same.reset(), []
        for _ in range(10):
            expected.append(observation_N)
            observation_N = same.step(balance(observation_N)).observation_N
    assert [each.rows for each in rounds] == [20, 40, 60]
    assert np.array_equal(rounds[2].observation_B[:20].numpy(), np.concatenate(expected))
    assert np.array_equal(rounds[2].action_B.numpy(), balance(rounds[2].observation_B.numpy()))


def test_later_rounds_are_the_learners_but_for_beta() -> None:
    """A learner that always goes left, an expert that always says right: what came of it tells who acted."""

    def share(beta: float, step: int) -> float:
        with Worlds(CARTPOLE, 8) as worlds:
            policy = policy_of(worlds)
            with torch.no_grad():
                policy.actor.weight.zero_()
                policy.actor.bias.copy_(torch.tensor([1.0, 0.0]))
            data = dagger(worlds, policy, beta=beta, length=100, expert=lambda o: np.ones(len(o), np.int64))
            told = data(step)
            pushed_B = (told.following_B[:, 1] > told.observation_B[:, 1]).float()  # the cart's speed
            return float(pushed_B.mean())

    assert share(0.0, 0) == 1
    assert share(0.0, 1) == 0
    assert abs(share(0.5, 1) - 0.5) < 0.05
    assert abs(share(0.5, 2) - 0.25) < 0.05


def test_an_expert_who_says_what_cannot_be_done_is_told() -> None:
    with Worlds(CARTPOLE, 2) as worlds, pytest.raises(ControlError, match="is no action of CartPole-v1"):
        dagger(worlds, policy_of(worlds), expert=lambda o: np.full(len(o), 2))(0)
    with Worlds(CARTPOLE, 2) as worlds:
        with pytest.raises(ValueError, match=r"dagger.beta is a probability"):
            dagger(worlds, policy_of(worlds), beta=1.5)
        with pytest.raises(ValueError, match="steps and length >= 1"):
            dagger(worlds, policy_of(worlds), length=0)


# GAIL and AIRL


def rows_of(worlds: Worlds, policy: ActorCritic) -> Demonstrated:
    return told(worlds, policy).take(slice(0, 40))


@pytest.mark.parametrize("kind", [GAIL, AIRL])
@pytest.mark.parametrize("task", [CARTPOLE, PENDULUM])
def test_rewards_are_functions_of_d(kind: type[Discriminator], task: str) -> None:
    with Worlds(task, 2) as worlds:
        policy = policy_of(worlds)
        collected = Collector(policy=policy, worlds=worlds, steps=1, length=20)(0)
    batch = Demonstrated(
        observation_B=collected.observation_TN.flatten(0, 1),
        action_B=collected.action_TN.flatten(0, 1),
        following_B=collected.following_TN.flatten(0, 1),
    )
    discriminator = kind(policy)
    with torch.no_grad():
        for parameter in discriminator.parameters():
            parameter.normal_(std=0.5)
        d_B = discriminator.logit(batch).double().sigmoid()
        reward_B = discriminator.reward(batch).double()
    expected_B = -(1 - d_B).log() if kind is GAIL else d_B.log() - (1 - d_B).log()
    assert torch.allclose(reward_B, expected_B, atol=1e-4)
    assert reward_B.std() > 0.1


def test_the_logit_of_airl_is_its_equation() -> None:
    with Worlds(CARTPOLE, 1) as worlds:
        policy = policy_of(worlds)
        batch = rows_of(worlds, policy)
    airl = AIRL(policy, gamma=0.8, of_actions=True)
    with torch.no_grad():
        for parameter in airl.parameters():
            parameter.normal_(std=0.5)
        for row in (0, 7, 39):
            one = batch.take(slice(row, row + 1))
            before, after = airl.states(one.observation_B), airl.states(one.following_B)
            g = float(airl.g(torch.cat([before, airl.actions(one.action_B)], -1)))
            f = g + 0.8 * float(airl.h(after)) - float(airl.h(before))
            p = float(policy(one.observation_B, one.action_B).logp_B.exp())
            assert math.isclose(float(airl.logit(one).sigmoid()), math.exp(f) / (math.exp(f) + p), rel_tol=1e-4)


def adversary(worlds: Worlds, policy: ActorCritic, kind: Callable[..., Discriminator] = GAIL, **rest: Any) -> Adversary:
    collector = Collector(policy=policy, worlds=worlds, steps=4, length=32)
    discriminator = kind(policy, hidden=(16,))
    with Worlds(worlds.id, 1, seed=9) as shown:
        shown_acts = rows_of(shown, policy)
    values: dict[str, Any] = {"discriminator": discriminator, "demonstrations": shown_acts, "collector": collector}
    return Adversary(**values | {"batch": 32} | rest)


def test_a_rollout_is_rewarded_before_it_is_learned_from() -> None:
    with Worlds(CARTPOLE, 2) as worlds:
        policy = policy_of(worlds)
        data = adversary(worlds, policy, updates=50, lr=1e-2)
        data.collector.reward_discount = None
        first, second = data(0), data(1)
    assert torch.allclose(first.reward_TN, torch.full_like(first.reward_TN, math.log(2)))  # D = ½ of all at first
    assert second.reward_TN.std() > 0.01
    described = {name: float(total / count) for name, (total, count) in second.describe().items()}
    assert described["discriminator_accuracy"] > 0.6
    assert described["discriminator_loss"] < math.log(2)
    assert described["return"] > 5  # the environment's own


def test_leaving_the_bounds_does_not_tell_the_agent_from_the_expert() -> None:
    with Worlds(PENDULUM, 4) as worlds:
        policy = policy_of(worlds)
        with torch.no_grad():
            assert policy.log_deviation_A is not None
            policy.log_deviation_A.fill_(3.0)  # nearly every action is beyond the bounds
        collector = Collector(policy=policy, worlds=worlds, steps=1, length=100)
        shown = demonstrated(
            record(lambda o: np.where(o[:, 2:] > 0, 2.0, -2.0).astype(np.float32), worlds, 4), worlds, policy
        )
        seen: list[float] = []

        class Watches(GAIL):
            def logit(self, batch: Demonstrated) -> torch.Tensor:
                seen.append(float(batch.action_B.abs().max()))
                return GAIL.logit(self, batch)

        Adversary(discriminator=Watches(policy), demonstrations=shown, collector=collector, updates=3)(0)
    assert len(seen) == 7
    assert max(seen) == 2


def test_an_adversary_says_what_it_cannot() -> None:
    with Worlds(CARTPOLE, 2) as worlds:
        policy, other = policy_of(worlds), policy_of(worlds)
        with pytest.raises(ValueError, match="updates >= 0, batch >= 1 and lr > 0"):
            adversary(worlds, policy, batch=0)
        with pytest.raises(ValueError, match="must be of the policy that collects"):
            adversary(worlds, policy, discriminator=GAIL(other))
        paid = Collector(policy=policy, worlds=worlds, steps=1, length=8, reward=lambda o, a, f: np.zeros(a.shape[:2]))
        with pytest.raises(ValueError, match="without reward="):
            adversary(worlds, policy, collector=paid)
        with pytest.raises(ValueError, match=r"airl.gamma must be in \[0, 1\]"):
            AIRL(policy, gamma=1.5)


# After a kill


def trained(kind: str, folder: Path, stop: int | None = None) -> dict[str, torch.Tensor]:
    class Killed(Exception):
        pass

    def on_step(step: int, metrics: Any) -> None:
        if step == stop:
            raise Killed

    with Worlds(CARTPOLE, 2, seed=3) as worlds:
        policy = policy_of(worlds, hidden=(8,))
        method: Any = BC(epochs=2)
        if kind == "dagger":
            data: Any = dagger(worlds, policy, steps=4)
        elif kind == "bc":
            data = Always(acts=told(worlds, policy), steps=4)
        else:
            data, method = adversary(worlds, policy, GAIL if kind == "gail" else AIRL), PPO(epochs=2, minibatch=32)
        try:
            fit(method, Models(policy=policy), data, ADAM, folder, save_every=0, on_step=on_step)
        except Killed:
            return {}
        state = dict(policy.state_dict())
        return state | (dict(data.discriminator.state_dict()) if isinstance(data, Adversary) else {})


@pytest.mark.parametrize("kind", ["bc", "dagger", "gail", "airl"])
def test_killed_runs_end_with_the_same_bits(kind: str, tmp_path: Path) -> None:
    whole = trained(kind, tmp_path / "whole")
    trained(kind, tmp_path / "killed", stop=1)
    again = trained(kind, tmp_path / "killed")
    assert whole.keys() == again.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, again[name]), name


def test_every_field_of_demonstrations_is_taken() -> None:
    assert {each.name for each in fields(Demonstrated)} == {"observation_B", "action_B", "following_B"}
