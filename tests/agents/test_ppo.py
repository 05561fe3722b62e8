"""PPO for control: its arithmetic against plain loops, its loop against itself, and whether it learns."""

import math
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from small import Fixed, gradients
from tercih.agents.evaluate import returns
from tercih.agents.experience import Collector, Experience
from tercih.agents.ppo import PPO, PPOActs
from tercih.environments.control import ControlError
from tercih.environments.worlds import Worlds
from tercih.forward import Models
from tercih.metrics import read_metrics
from tercih.models.control import ActorCritic
from tercih.ops import gae_of_steps, whiten
from tercih.optimisation import Optimisation
from tercih.rewards.steps import StepReward
from tercih.train import fit

CARTPOLE, PENDULUM = "CartPole-v1", "Pendulum-v1"
BOX = spaces.Box(-np.inf, np.inf, (3,))
ADAM = Optimisation(lr=3e-4, eps=1e-5, max_norm=0.5)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # networks this small are slower on several
    yield
    torch.set_num_threads(threads)


def experience(policy: ActorCritic, T: int = 12, N: int = 4, seed: int = 0) -> Experience:
    """What nobody acted: every kind of end is in it, and the policy that acted was a little another."""
    dice = torch.Generator().manual_seed(seed)
    observation_TN3 = torch.randn(T, N, 3, generator=dice)
    with torch.no_grad():
        action_B = policy.act(observation_TN3.flatten(0, 1), policy.noise(T * N, dice=dice))
    end_TN = torch.rand(T, N, generator=dice)
    return Experience(
        observation_TN=observation_TN3,
        action_TN=action_B.view(T, N, *action_B.shape[1:]),
        following_TN=torch.randn(T, N, 3, generator=dice),
        reward_TN=torch.randn(T, N, generator=dice),
        terminated_TN=end_TN < 0.15,
        truncated_TN=end_TN > 0.85,
    )


def test_advantages_are_those_of_a_plain_loop_over_episodes() -> None:
    policy, gamma, lam = ActorCritic(BOX, BOX), 0.9, 0.8
    data = experience(policy)
    assert data.terminated_TN.any()
    assert data.truncated_TN.any()
    batch = PPO(gamma=gamma, lam=lam).prepare(data, policy)
    value_TN = policy.value(data.observation_TN.flatten(0, 1)).view(12, 4).tolist()
    after_TN = policy.value(data.following_TN.flatten(0, 1)).view(12, 4).tolist()
    expected = np.zeros((12, 4))
    for n in range(4):
        for t in range(12):  # the sum of Schulman et al. 2016, eq. 16, written out
            weight = 1.0
            for k in range(t, 12):
                future = 0.0 if data.terminated_TN[k, n] else gamma * after_TN[k][n]
                expected[t, n] += weight * (float(data.reward_TN[k, n]) + future - value_TN[k][n])
                if data.over_TN[k, n]:
                    break
                weight *= gamma * lam
    assert np.allclose(batch.advantage_B.detach().view(12, 4), expected, atol=1e-5)
    assert torch.allclose(batch.return_B, batch.advantage_B + batch.old_value_B)


def test_what_followed_counts_where_an_episode_was_cut_off_and_not_where_it_ended() -> None:
    one, no, yes = torch.ones(1, 1), torch.tensor([[False]]), torch.tensor([[True]])
    cut = gae_of_steps(one, 3 * one, 10 * one, no, yes, 0.5, 0.9)
    ended = gae_of_steps(one, 3 * one, 10 * one, yes, yes, 0.5, 0.9)
    assert (cut.item(), ended.item()) == (1 + 5 - 3, 1 - 3)


def judged_by_torch(policy: ActorCritic, observation_B: Tensor) -> torch.distributions.Distribution:
    """The same weights in the plainest network."""
    x_BH = ((observation_B - policy.shift_O) * policy.scale_O).clamp(-10, 10)
    for weight, bias in zip(policy.weights, policy.biases, strict=True):
        x_BH = torch.tanh(x_BH @ weight[0] + bias[0])
    output_BA = policy.actor(x_BH)
    if policy.log_deviation_A is None:
        return torch.distributions.Categorical(logits=output_BA)
    return torch.distributions.Independent(torch.distributions.Normal(output_BA, policy.log_deviation_A.exp()), 1)


@pytest.mark.parametrize("actions", [spaces.Box(-1, 1, (2,)), spaces.Discrete(5)], ids=["box", "discrete"])
def test_log_probabilities_and_entropies_are_those_of_torch(actions: Any) -> None:
    policy = ActorCritic(BOX, actions, seed=3)
    with torch.no_grad():
        policy.actor.weight.mul_(100)
        if policy.log_deviation_A is not None:
            policy.log_deviation_A.copy_(torch.tensor([-0.7, 0.4]))
    dice = torch.Generator().manual_seed(0)
    observation_B3 = torch.randn(50, 3, generator=dice)
    policy.observe(3 * observation_B3 + 1)
    action_B = policy.act(observation_B3, policy.noise(50, dice=dice))
    judged, expected = policy(observation_B3, action_B), judged_by_torch(policy, observation_B3)
    assert torch.allclose(judged.logp_B, expected.log_prob(action_B), atol=1e-5)
    assert torch.allclose(judged.entropy_B, expected.entropy(), atol=1e-5)


@pytest.mark.parametrize("actions", [spaces.Box(-1, 1, (1,)), spaces.Discrete(4)], ids=["box", "discrete"])
def test_what_is_drawn_has_the_probabilities_it_is_said_to_have(actions: Any) -> None:
    policy = ActorCritic(BOX, actions, seed=3)
    with torch.no_grad():
        policy.actor.weight.mul_(100)
    dice = torch.Generator().manual_seed(0)
    observation_B3 = torch.tensor([[0.5, -1.0, 2.0]]).expand(20_000, 3)
    with torch.no_grad():
        action_B, law = (
            policy.act(observation_B3, policy.noise(20_000, dice=dice)),
            judged_by_torch(policy, observation_B3),
        )
        if isinstance(law, torch.distributions.Categorical):
            found_A = torch.bincount(action_B, minlength=4) / 20_000
            assert torch.allclose(found_A, law.probs[0], atol=0.015)
            assert law.probs[0].max() < 0.9
        else:
            assert torch.allclose(action_B.mean(0), law.mean[0], atol=0.03)
            assert action_B.std(0).item() == pytest.approx(1, abs=0.03)
        still = policy.act(observation_B3[:1], torch.zeros(1, policy.actor.out_features))
        mode = law.mode[0] if isinstance(law, torch.distributions.Categorical) else law.mean[0]
        assert torch.allclose(still[0], mode)


@pytest.mark.parametrize("actions", [BOX, spaces.Discrete(3)], ids=["box", "discrete"])
@pytest.mark.parametrize("method", [PPO(), PPO(value_clip=0.1, entropy_coef=0.02)], ids=["plain", "clipped"])
def test_any_micro_batch_gives_the_same_gradient(actions: Any, method: PPO) -> None:
    method = replace(method, epochs=1, minibatch=48)

    def step(micro_rows: int) -> tuple[dict[str, float], dict[str, Tensor]]:
        policy = ActorCritic(BOX, actions)
        made = experience(policy)
        held = {f.name: getattr(made, f.name) for f in fields(Experience)}
        floats = {k: v.double() for k, v in held.items() if isinstance(v, Tensor) and v.is_floating_point()}
        settings = Optimisation(lr=1e-3, max_norm=1e9, micro_rows=micro_rows)
        data = Fixed(Experience(**held | floats))
        return fit(method, Models(policy=policy.double()), data, settings), gradients(policy)

    metrics, whole = step(0)
    assert max(float(g.abs().max()) for g in whole.values()) > 1e-3, "no gradient to compare"
    for micro_rows in (1, 7, 16):
        micro_metrics, parts = step(micro_rows)
        for name, gradient in whole.items():
            assert torch.allclose(parts[name], gradient, atol=1e-12), f"{name} at {micro_rows=}"
        assert micro_metrics == pytest.approx(metrics, rel=1e-6, abs=1e-9)


def test_every_step_is_in_one_minibatch_of_every_epoch_and_advantages_are_standardised_in_each() -> None:
    policy = ActorCritic(BOX, BOX)
    data, method = experience(policy), PPO(epochs=3, minibatch=16)
    whole = method.prepare(data, policy)
    made = list(method.batches(data, Models(policy=policy), {"rollouts": 4}))
    assert [part.rows for part in made] == [16] * 9
    for epoch in range(3):
        parts = made[3 * epoch : 3 * epoch + 3]
        rewards = torch.cat([part.return_B for part in parts])
        assert torch.allclose(rewards.sort().values, whole.return_B.sort().values, atol=1e-5)
        for part in parts:
            raw_B = part.return_B - part.old_value_B
            assert torch.allclose(part.advantage_B, whiten(raw_B, torch.ones(16, dtype=torch.bool)), atol=1e-4)
    assert not torch.equal(made[0].return_B, made[3].return_B), "epochs are shuffled anew"


def test_before_the_first_update_nothing_has_moved() -> None:
    policy = ActorCritic(BOX, spaces.Discrete(3), seed=1)
    data, method = experience(policy), PPO(minibatch=48, standardise_advantages=False)
    first = next(iter(method.batches(data, Models(policy=policy), {"rollouts": 0})))
    assert isinstance(first, PPOActs)
    loss = method.loss(policy, first)
    assert float(loss.metrics["kl"][0]) == pytest.approx(0, abs=1e-5)
    assert float(loss.metrics["clip_fraction"][0]) == 0
    assert abs(float(first.advantage_B.sum())) > 1
    assert float(loss.terms["policy"].sum.detach()) == pytest.approx(-float(first.advantage_B.sum()), abs=1e-4)


def learner(
    environment: str, *, steps: int, length: int, seed: int = 0, copies: int = 8, reward: StepReward | None = None
) -> Collector:
    worlds = Worlds(environment, copies, seed=seed)
    policy = ActorCritic(worlds.observation_space, worlds.action_space, seed=seed)
    return Collector(policy=policy, worlds=worlds, steps=steps, length=length, seed=seed, reward=reward)


def train(data: Collector, method: PPO | None = None, folder: Path | None = None, **more: Any) -> dict[str, float]:
    return fit(method or PPO(), Models(policy=data.policy), data, more.pop("optimisation", ADAM), folder, **more)


class Killed(Exception):
    pass


def killed_at(last: int) -> Callable[[int, object], None]:
    def kill(step: int, _metrics: object) -> None:
        if step == last:
            raise Killed

    return kill


@pytest.mark.parametrize("environment", [CARTPOLE, PENDULUM])
def test_a_run_that_was_killed_ends_with_the_same_bits(environment: str, tmp_path: Path) -> None:
    """Pendulum's episodes of 200 steps are cut by the kill after rollouts of 40."""
    method, size = PPO(epochs=2, minibatch=40), {"steps": 7, "length": 40, "copies": 3}
    whole = learner(environment, **size)
    train(whole, method, tmp_path / "whole")

    for at in (1, 3):
        with pytest.raises(Killed):
            train(learner(environment, **size), method, tmp_path / "killed", on_step=killed_at(at), save_every=0.0)
    resumed = learner(environment, **size)
    train(resumed, method, tmp_path / "killed")
    expected, found = whole.policy.state_dict(), resumed.policy.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert read_metrics(tmp_path / "killed") == read_metrics(tmp_path / "whole")
    assert whole.worlds.state_dict() == resumed.worlds.state_dict()


def test_a_rollout_is_a_function_of_weights_seed_and_number() -> None:
    first, same, other = (learner(CARTPOLE, steps=2, length=30, seed=seed)(0) for seed in (5, 5, 6))
    assert torch.equal(first.observation_TN, same.observation_TN)
    assert torch.equal(first.action_TN, same.action_TN)
    assert not torch.equal(first.observation_TN, other.observation_TN)


def test_following_leads_to_the_next_observation_but_where_an_episode_ends() -> None:
    data = learner(CARTPOLE, steps=1, length=60)(0)
    same_TN = (data.following_TN[:-1] == data.observation_TN[1:]).all(-1)
    assert torch.equal(same_TN, ~data.over_TN[:-1])
    assert data.over_TN.any()
    total, count = data.finished["episode_length"]
    assert int(count) == int(data.over_TN.sum())
    assert float(data.finished["return"][0]) == float(total), "a CartPole earns 1 a step"


def test_actions_are_given_inside_their_bounds_and_learned_as_they_were_drawn() -> None:
    space = spaces.Box(np.array([-0.1, -np.inf]), np.array([0.1, 0.0]), dtype=np.float64)
    policy = ActorCritic(BOX, space)
    given = policy.for_environment(torch.tensor([[3.0, 3.0], [-3.0, -3.0]]))
    assert given.tolist() == [[0.1, 0.0], [-0.1, -3.0]]
    assert given.dtype == np.float64
    data = learner(PENDULUM, steps=1, length=200, copies=2)(0)
    assert float(data.action_TN.abs().max()) > 2, "a drawn action was beyond the bounds"
    assert policy.for_environment(torch.zeros(5, 2)).shape == (5, 2)
    numbered = ActorCritic(BOX, spaces.Discrete(3, start=-1))
    assert numbered.for_environment(torch.tensor([0, 2])).tolist() == [-1, 1]


def test_a_reward_function_sees_a_whole_rollout_once_and_replaces_the_environments() -> None:
    seen: list[tuple[int, ...]] = []

    def reward(observation: Any, action: Any, following: Any) -> Any:
        seen.extend((observation.shape, action.shape, following.shape))
        assert np.abs(action).max() <= 2, "as the environment got them"
        return -np.abs(following[..., 2])

    data = learner(PENDULUM, steps=1, length=50, copies=3, reward=reward)
    data.reward_discount = None
    made = data(0)
    assert seen == [(50, 3, 3), (50, 3, 1), (50, 3, 3)]
    assert torch.equal(made.reward_TN, -made.following_TN[..., 2].abs())


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        (lambda o, a, f: np.zeros(len(o)), r"one number for every step, shape \(20, 2\), got \(20,\)"),
        (lambda o, a, f: np.full(o.shape[:2], math.nan), "not finite"),
    ],
)
def test_a_reward_function_that_is_wrong_is_told(reward: StepReward, said: str) -> None:
    with pytest.raises(ControlError, match=said):
        learner(CARTPOLE, steps=1, length=20, copies=2, reward=reward)(0)


def test_rewards_are_divided_by_the_deviation_of_the_running_return() -> None:
    data = learner(PENDULUM, steps=2, length=30, copies=2)
    plain = learner(PENDULUM, steps=2, length=30, copies=2)
    plain.reward_discount = None
    running_N, seen = np.zeros(2), []
    for step in range(2):  # both act alike, for nothing is learned
        made, raw = data(step), plain(step)
        for t in range(30):
            running_N = running_N + raw.reward_TN[t].double().numpy()
            seen.append(running_N)
            running_N = 0.99 * running_N * ~raw.over_TN[t].numpy()
        expected = raw.reward_TN / np.std(seen)
        assert torch.allclose(made.reward_TN, expected.float(), rtol=1e-4)


@pytest.mark.parametrize(
    "actions",
    [spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(3), spaces.Box(0, 9, (2,), dtype=np.int64)],
    ids=lambda space: type(space).__name__,
)
def test_actions_that_cannot_be_learned_are_refused(actions: Any) -> None:
    with pytest.raises(ValueError, match=r"^actions of .* cannot be learned: only .*Discrete.*Box.*wrap"):
        ActorCritic(BOX, actions)


def test_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^observations of Box.* cannot be read.*FlattenObservation"):
        ActorCritic(spaces.Box(0, 255, (8, 8, 3), np.uint8), spaces.Discrete(2))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"clip": -1}, "ppo.clip must be >= 0"),
        ({"gamma": 1.1}, r"ppo.gamma must be in \[0, 1\]"),
        ({"value_clip": 0.0}, "ppo.value_clip must be > 0"),
        ({"minibatch": 1}, "ppo.minibatch must be >= 2"),
        ({"epochs": 0}, "ppo.epochs must be > 0"),
    ],
)
def test_options_out_of_range_are_told(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PPO(**settings)


def test_a_rollout_that_cannot_be_cut_is_told() -> None:
    policy = ActorCritic(BOX, BOX)
    with pytest.raises(ValueError, match="a rollout of 48 steps cannot be cut into minibatches of 20"):
        next(iter(PPO(minibatch=20).batches(experience(policy), Models(policy=policy), {"rollouts": 0})))


def mean_return(data: Collector, episodes: int = 24) -> float:
    with Worlds(data.worlds.id, 8, seed=10_000) as worlds:
        return float(np.mean(returns(data.policy.likeliest, worlds, episodes)))


@pytest.mark.learns
def test_cartpole_is_learned_and_a_constant_reward_teaches_nothing() -> None:
    """The same command; only the reward differs."""
    data = learner(CARTPOLE, steps=24, length=256)
    train(data)
    assert mean_return(data) >= 450

    def constant(observation: Any, action: Any, following: Any) -> Any:
        return np.zeros(observation.shape[:2])

    blind = learner(CARTPOLE, steps=24, length=256, reward=constant)
    assert train(blind)["return"] < 60
