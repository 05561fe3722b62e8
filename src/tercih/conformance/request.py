"""Proof of ReQueST: questions about made-up states tell where the unsafe disc is, and nobody ever was in it."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from tercih.agents.request import Dynamics, ReQueST, RewardNets, rounds, synthesise
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.lab import Lab
from tercih.environments.point_mass import FASTEST, GOAL, RADIUS, unsafe
from tercih.environments.worlds import Worlds

MARGIN = 0.1  # that a careful driver keeps from the disc
NEAR = 0.3  # of the goal, which is good


def prove(lab: Lab, method: type[ReQueST] = ReQueST) -> Findings:
    count, settings = lab.of(quick=3, full=8), method(steps=lab.of(quick=25, full=40))
    seeds = range(lab.seed, lab.seed + lab.of(quick=3, full=5))
    worlds = [seen(seed) for seed in seeds]
    made = [nets(settings, driven, seed, count, judged) for driven, seed in zip(worlds, seeds, strict=True)]
    learned = [auc(each) for each in made]
    lived = [auc(of_what_was_seen(driven, seed, settings, count)) for driven, seed in zip(worlds, seeds, strict=True)]
    return Findings(
        identity=every(
            at_least(
                "AUC of P(unsafe) on the whole square",
                float(np.min(learned)),
                0.95,
                f"{len(learned)} seeds, the lowest",
            ),
            at_most("visits to the disc", float(sum(unsafe(driven[2].numpy()).sum() for driven in worlds)), 0.0),
            at_most("log p of the dynamics − explicit Gaussian", logp_error(lab.seed), 1e-5),
        ),
        ordering=above_zero(
            "AUC, synthesised − as many states that were really seen",
            [ours - theirs for ours, theirs in zip(learned, lived, strict=True)],
        ),
        negative_control=at_most(
            "mean P(unsafe) in the disc − outside, shuffled labels",
            float(
                np.mean(
                    [separation(nets(settings, w, s, count, shuffled(s))) for w, s in zip(worlds, seeds, strict=True)]
                )
            ),
            0.2,
            f"{separation(made[0]):.2f} with real labels; a mean over {len(worlds)} seeds",
        ),
        ablation=at_least(
            "share of made-up steps that nobody could take, without −log p of the dynamics",
            impossible(replace(settings, penalty=0.0), worlds[0], lab.seed),
            0.2,
            f"{impossible(settings, worlds[0], lab.seed):.3f} with it",
        ),
    )


def seen(seed: int, steps: int = 500) -> list[Tensor]:
    """States, actions and what followed, of somebody who acts at random but keeps away from the disc."""
    dice, kept = np.random.default_rng(seed), []
    with Worlds("Tercih/PointMass-v0", 1, seed=seed) as worlds:
        before_N = worlds.reset()
        for _ in range(steps):
            choice_CA = dice.uniform(-1, 1, (64, 2)).astype(np.float32)
            careful_C = np.linalg.norm(before_N + FASTEST * choice_CA, axis=1) > RADIUS + MARGIN
            action_N = choice_CA[careful_C.argmax()][None]
            made = worlds.step(action_N)
            kept.append((before_N[0], action_N[0], made.following_N[0]))
            before_N = made.observation_N
    return [torch.as_tensor(np.stack(column)) for column in zip(*kept, strict=True)]


def judged(state_SO: Tensor) -> Tensor:
    """What somebody says who knows: 0 near the goal, 2 in the disc, else 1."""
    place = state_SO.numpy()
    label = np.where(np.linalg.norm(place - GOAL, axis=1) < NEAR, 0, 1)
    return torch.as_tensor(np.where(unsafe(place), 2, label))


def shuffled(seed: int) -> Callable[[Tensor], Tensor]:
    dice = torch.Generator().manual_seed(seed)
    return lambda state_SO: judged(state_SO)[torch.randperm(len(state_SO), generator=dice)]


def nets(
    settings: ReQueST, driven: list[Tensor], seed: int, count: int, answer: Callable[[Tensor], Tensor]
) -> RewardNets:
    dynamics, reward = Dynamics(2, 2, seed=seed), RewardNets(2, seed=seed)
    dynamics.learn(*driven, steps=300)
    dice = torch.Generator().manual_seed(seed)
    rounds(
        settings, count, lambda p: 0.4 * torch.rand(p, 2, generator=dice) - 0.9, 2, dynamics, reward, answer, seed=seed
    )
    return reward


def of_what_was_seen(driven: list[Tensor], seed: int, settings: ReQueST, count: int) -> RewardNets:
    """As many labels, of states that the careful driver saw."""
    labels = count * settings.count * settings.length * len(settings.acquisitions)
    state_SO = driven[2][torch.randint(len(driven[2]), (labels,), generator=torch.Generator().manual_seed(seed))]
    reward = RewardNets(2, seed=seed)
    reward.add(state_SO, judged(state_SO))
    reward.learn()
    return reward


def impossible(settings: ReQueST, driven: list[Tensor], seed: int) -> float:
    """Of trajectories that are sought for novelty: longer steps than an action can make, with a tenth to spare."""
    dynamics, dice = Dynamics(2, 2, seed=seed), torch.Generator().manual_seed(seed)
    dynamics.learn(*driven, steps=300)
    asked_QO = driven[0][:50]
    state_PTO = synthesise(
        settings, "novelty", lambda p: 0.4 * torch.rand(p, 2, generator=dice) - 0.9, 2, dynamics,
        RewardNets(2, seed=seed), asked_QO, dice,
    )  # fmt: skip
    longest_PT = (state_PTO[:, 1:] - state_PTO[:, :-1]).abs().amax(-1)
    return float((longest_PT > 1.1 * FASTEST).float().mean())


@torch.no_grad()
def separation(reward: RewardNets) -> float:
    place = grid()
    p_unsafe, bad = reward.unsafe(torch.as_tensor(place)).numpy(), unsafe(place)
    return float(p_unsafe[bad].mean() - p_unsafe[~bad].mean())


def grid() -> NDArray[np.float32]:
    """Places all over the square, (S, 2)."""
    return np.stack(np.meshgrid(*[np.linspace(-1, 1, 41, dtype=np.float32)] * 2), -1).reshape(-1, 2)


@torch.no_grad()
def auc(reward: RewardNets) -> float:
    """The chance that an unsafe place looks more unsafe than a safe one, over a grid of the square."""
    place = grid()
    rank, bad = rankdata(reward.unsafe(torch.as_tensor(place)).numpy()), unsafe(place)
    found = (rank[bad].sum() - bad.sum() * (bad.sum() + 1) / 2) / (bad.sum() * (~bad).sum())
    return float(found)


@torch.no_grad()
def logp_error(seed: int) -> float:
    dynamics, dice = Dynamics(2, 2, seed=seed), torch.Generator().manual_seed(seed)
    state_SO, action_SA, following_SO = torch.randn(3, 8, 2, generator=dice)
    mean_SO, log_std_SO = dynamics.change(torch.cat([state_SO, action_SA], -1))
    expected = [
        sum(
            -0.5 * ((f - s - m) / math.exp(d)) ** 2 - d - 0.5 * math.log(2 * math.pi)
            for f, s, m, d in zip(*row, strict=True)
        )
        for row in zip(following_SO.tolist(), state_SO.tolist(), mean_SO.tolist(), log_std_SO.tolist(), strict=True)
    ]
    return float((dynamics.logp(state_SO, action_SA, following_SO) - torch.tensor(expected)).abs().max())
