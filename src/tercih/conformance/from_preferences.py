"""Proof of deep RL from human preferences: step rewards are recovered from comparisons of clips, agents follow them.

The environment is Pendulum; its own reward, which nobody but the teacher sees, is what must be found again.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, product
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Discrete
from torch import nn

from tercih.agents.clips import Schedule
from tercih.agents.evaluate import returns
from tercih.agents.experience import Collector
from tercih.agents.ppo import PPO
from tercih.agents.preferences import FromPreferences
from tercih.agents.reward_learner import RewardLearner, RewardLearning
from tercih.algorithms.bradley_terry import BradleyTerry
from tercih.conformance.checks import Check, Findings, above_zero, at_most, every
from tercih.conformance.clips import Oracle
from tercih.conformance.lab import Lab
from tercih.environments.control import Array
from tercih.environments.worlds import Worlds
from tercih.forward import Models
from tercih.models.control import ActorCritic
from tercih.models.ensemble import RewardEnsemble
from tercih.optimisation import Optimisation
from tercih.segments import SegmentPairs, Segments
from tercih.train import fit

PENDULUM, CLIP = "Pendulum-v1", 20
Clips = list[tuple[Array, Array, Array]]
"""(observations, actions, rewards) of each."""


def prove(lab: Lab, method: type[BradleyTerry] = BradleyTerry) -> Findings:
    seeds = range(lab.seed, lab.seed + len(lab.worlds))
    settings = RewardLearning(
        hidden=(32,), lr=1e-2, minibatch=16, first_updates=lab.of(quick=100, full=400), method=method(lapse=0.1)
    )
    few, many = lab.of(quick=(15, 120), full=(50, 700))
    seen = {seed: [*clips_of(seed, skill=0.0), *clips_of(seed, skill=0.8)] for seed in seeds}
    last = {seed: [(o[-1:], a[-1:], r) for o, a, r in clips] for seed, clips in seen.items()}
    unseen = {seed: clips_of(1000 + seed, skill=1.0) for seed in seeds}

    def agreement(seed: int, clips: Clips, labels: int, *, shuffled: bool = False) -> float:
        return correlation(learned(settings, clips, labels, seed, shuffled=shuffled), unseen[seed])

    full = {seed: agreement(seed, seen[seed], many) for seed in seeds}
    ordering = above_zero(
        f"correlation with the true reward, {many} − {few} labels",
        [full[seed] - agreement(seed, seen[seed], few) for seed in seeds],
    )
    return Findings(
        identity=every(
            at_most("gradient of the ensemble − of networks one by one", apart(method), 1e-10),
            at_most("error of step rewards, from all pairs with 10 % guesses", recovery_error(method(lapse=0.1)), 0.02),
        ),
        ordering=every(ordering, policies(settings, seeds)) if lab.full else ordering,
        negative_control=at_most(
            "correlation, shuffled labels",
            float(np.mean([agreement(seed, seen[seed], many, shuffled=True) for seed in seeds])),
            0.5 * float(np.mean(list(full.values()))),
            f"{np.mean(list(full.values())):.2f} with real labels; a mean over {len(full)} seeds",
        ),
        ablation=above_zero(
            "correlation lost where the last step of a clip speaks for all of it",
            [full[seed] - agreement(seed, last[seed], many) for seed in seeds],
        ),
    )


def clips_of(seed: int, skill: float, episodes: int = 6) -> Clips:
    """Of an agent that swings up by energy with the probability `skill`, and acts at random otherwise."""
    rng, kept = np.random.default_rng((seed, int(10 * skill))), []
    with Worlds(PENDULUM, episodes, seed=seed) as worlds:
        observation_N = worlds.reset()
        for _ in range(200):
            cos_N, sin_N, speed_N = observation_N.T
            angle_N, energy_N = np.arctan2(sin_N, cos_N), speed_N**2 / 6 + 5 * (cos_N - 1)
            swing_N = np.where(np.abs(angle_N) < 0.5, -10 * angle_N - 2 * speed_N, -np.sign(speed_N) * energy_N)
            random_N = rng.uniform(-2, 2, episodes)
            chosen_N = np.where(rng.random(episodes) < skill, swing_N, random_N)
            action_N = np.clip(chosen_N, -2, 2)[:, None].astype(np.float32)
            made = worlds.step(action_N)
            kept.append((observation_N, action_N, made.reward_N))
            observation_N = made.observation_N
    observation_TN, action_TN, reward_TN = (np.stack(each) for each in zip(*kept, strict=True))
    places = [(slice(t, t + CLIP), n) for t in range(0, 200, CLIP) for n in range(episodes)]
    return [(observation_TN[at], action_TN[at], reward_TN[at]) for at in places]


def learned(settings: RewardLearning, clips: Clips, labels: int, seed: int, *, shuffled: bool = False) -> RewardLearner:
    """A reward of so many comparisons of these clips by an oracle, chosen at random."""
    rng = np.random.default_rng((seed, labels))
    with Worlds(PENDULUM, 1) as worlds:
        learner = RewardLearner(settings, worlds.observation_space, worlds.action_space, seed=seed)
    pair_N2 = rng.integers(len(clips), size=(labels, 2))
    worth = np.array([reward.sum() for *_, reward in clips])
    first_N = worth[pair_N2[:, 0]] > worth[pair_N2[:, 1]]
    if shuffled:
        first_N = rng.random(labels) < 0.5
    target_N3 = np.stack([first_N, ~first_N, np.zeros(labels)], 1).astype(float)
    learner.add([clips[i][:2] for i in pair_N2.flatten()], target_N3, np.ones(labels, dtype=bool))
    learner.learn()
    return learner


def correlation(learner: RewardLearner, clips: Clips) -> float:
    observation, action, reward = (np.concatenate(each) for each in zip(*clips, strict=True))
    return float(np.corrcoef(learner.ensemble.reward(observation, action, observation), reward)[0, 1])


def apart(method: type[BradleyTerry]) -> float:
    """The largest difference of gradients: an ensemble's, and those of its members as networks of their own."""
    with Worlds(PENDULUM, 1) as worlds:
        one = RewardEnsemble(worlds.observation_space, worlds.action_space, members=3, hidden=(8, 8)).double()
    dice = torch.Generator().manual_seed(0)
    observation = torch.randn(24, 5, 3, generator=dice, dtype=torch.float64)
    action = torch.rand(24, 5, 1, generator=dice, dtype=torch.float64) * 4 - 2
    target_N3 = torch.nn.functional.one_hot(torch.arange(12) % 3, 3).double()
    batch = pairs_of(
        Segments(observation_BTO=observation, action_BTA=action, mask_BT=torch.ones(24, 5).bool()), target_N3
    )
    method(lapse=0.1).loss(one, batch).terms["preference"].sum.backward()  # type: ignore[no-untyped-call]
    worst = 0.0
    for m in range(3):
        layers: list[nn.Module] = []
        for weight, bias in zip(one.weights, one.biases, strict=True):
            layer = nn.Linear(weight.shape[1], weight.shape[2]).double()
            layer.weight.data, layer.bias.data = weight.data[m].T.clone(), bias.data[m, 0].clone()
            layers += [layer, nn.LeakyReLU(0.01)]
        rows = slice(8 * m, 8 * m + 8)
        x = torch.cat([observation[rows], action[rows] / 2], -1)
        score_N2 = nn.Sequential(*layers[:-1])(x).sum((1, 2)).view(4, 2)
        p_N = 0.9 * (score_N2[:, 0] - score_N2[:, 1]).sigmoid() + 0.05
        said = target_N3[4 * m : 4 * m + 4]
        first_N = said[:, 0] + said[:, 2] / 2
        (-first_N * p_N.log() - (1 - first_N) * (1 - p_N).log()).sum().backward()
        for alone, weight in zip(layers[::2], one.weights, strict=True):
            assert weight.grad is not None
            difference = alone.weight.grad.T - weight.grad[m]  # type: ignore[union-attr]
            worst = max(worst, float(difference.abs().max()))
    return worst


def recovery_error(method: BradleyTerry) -> float:
    """Rewards of 4 observations and 3 actions, from what people who guess one time in ten would say of all pairs of
    clips of one or two steps; what is left is rounding, and the constant that no comparison tells."""
    one = RewardEnsemble(Discrete(4), Discrete(3), members=1, hidden=()).double()
    truth_7 = torch.randn(7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    steps = list(product(range(4), range(3)))
    clips = [*([a, a] for a in steps), *([a, b] for a, b in combinations(steps, 2))]
    mask = torch.tensor([[True, False]] * len(steps) + [[True, True]] * (len(clips) - len(steps)))
    at = torch.tensor(clips)
    worth_B = ((truth_7[at[..., 0]] + truth_7[4 + at[..., 1]]) * mask).sum(1)
    pair_N2 = torch.combinations(torch.arange(len(clips)))
    rows = pair_N2.flatten()
    p_N = 0.9 * (worth_B[pair_N2[:, 0]] - worth_B[pair_N2[:, 1]]).sigmoid() + 0.05
    batch = pairs_of(
        Segments(observation_BTO=at[rows, :, 0], action_BTA=at[rows, :, 1], mask_BT=mask[rows]),
        torch.stack([p_N, 1 - p_N, torch.zeros_like(p_N)], 1),
    )
    optimiser = torch.optim.LBFGS(one.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Any:
        optimiser.zero_grad()
        loss = method.loss(one, batch).terms["preference"].sum
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    found = one.of_steps(torch.arange(4).repeat_interleave(3), torch.arange(3).repeat(4))[0].detach()
    wanted = (truth_7[:4, None] + truth_7[None, 4:]).flatten()
    return float((found - wanted).abs().max())


def pairs_of(segments: Segments, target_N3: torch.Tensor) -> SegmentPairs:
    first_N = torch.arange(0, segments.rows, 2)
    return SegmentPairs(
        items=segments, first_row_N=first_N, second_row_N=first_N + 1, target_N3=target_N3,
        weight_N=torch.ones(len(first_N), dtype=target_N3.dtype), margin_N=torch.zeros(len(first_N)).to(target_N3),
    )  # fmt: skip


def policies(settings: RewardLearning, seeds: Sequence[int]) -> Check:
    """Agents in Reacher that never see its reward, beside those whose answers were coins, and those that do see it."""
    taught, coins, true = ([reacher(settings, seed, labels) for seed in seeds[:3]] for labels in (200, -200, 0))
    check = above_zero("return in Reacher, comparisons − coins", [a - b for a, b in zip(taught, coins, strict=True)])
    return replace(
        check, detail=f"{check.detail}; {np.mean(taught):.1f}, {np.mean(coins):.1f}, true {np.mean(true):.1f}"
    )


def reacher(settings: RewardLearning, seed: int, labels: int) -> float:
    """The mean return; 0 labels are the true reward, and negative ones are coins."""
    with Worlds("Reacher-v5", 4, seed=seed) as worlds, Worlds("Reacher-v5", 8, seed=seed + 99) as unseen:
        policy = ActorCritic(worlds.observation_space, worlds.action_space, seed=seed)
        data: Any = Collector(policy=policy, worlds=worlds, steps=30, length=128, seed=seed)
        if labels:
            learner = RewardLearner(
                replace(settings, updates=20), worlds.observation_space, worlds.action_space, seed=seed
            )
            data = FromPreferences(
                collector=data, learner=learner, answers=Oracle(shuffled=labels < 0, seed=seed),
                schedule=Schedule(labels=abs(labels)), clip=25, seed=seed,
            )  # fmt: skip
        fit(PPO(epochs=5), Models(policy=policy), data, Optimisation(lr=3e-4, eps=1e-5, max_norm=0.5))
        return float(np.mean(returns(policy.likeliest, unseen, 40)))
