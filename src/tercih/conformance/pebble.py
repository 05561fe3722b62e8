"""Proof of PEBBLE: a point is steered to a goal by comparisons alone, out of a memory that is smaller than the run."""

import math

import numpy as np
import torch

from tercih.agents.clips import Schedule
from tercih.agents.evaluate import returns
from tercih.agents.off_policy import OffPolicy
from tercih.agents.pebble import PEBBLE, FromPreferencesOffPolicy, nearest
from tercih.agents.preferences import Asking
from tercih.agents.reward_learner import RewardLearner, RewardLearning
from tercih.agents.sac import SAC
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.clips import Oracle
from tercih.conformance.lab import Lab
from tercih.environments.worlds import Worlds

TASK = "Tercih/PointMass-v0"
AGENT = SAC(hidden=(32,), lr=3e-3, gamma=0.8, batch=64, starts=50, capacity=450, update_every=2, tau=0.02)
REWARD = RewardLearning(hidden=(32,), bounded=True, updates=15, first_updates=40, lr=3e-3)
ROW, EXPLORE, EPISODES = 100, 200, 5


def prove(lab: Lab, method: type[FromPreferencesOffPolicy] = FromPreferencesOffPolicy) -> Findings:
    rows = lab.of(quick=6, full=20)
    seeds = range(lab.seed, lab.seed + lab.of(quick=3, full=5))
    runs = [trained(method, seed, rows) for seed in seeds]
    coins = [trained(method, seed, rows, shuffled=True) for seed in seeds]
    learned, by_coin = ([earned(run) for run in each] for each in (runs, coins))
    return Findings(
        identity=every(
            at_most("|what is remembered − the newest reward|, memory wrapped around", staleness(runs[0]), 1e-5),
            at_most("k-th neighbour − explicit loop", neighbour_error(lab.seed), 1e-6),
            at_most("first session, share not drawn at random", chosen_first(runs[0]), 0.0),
        ),
        ordering=above_zero(
            "return, comparisons − answers by a coin", [a - b for a, b in zip(learned, by_coin, strict=True)]
        ),
        negative_control=at_most(
            "correlation of the learned reward with the true one, answers by a coin",
            float(np.mean([agreement(run) for run in coins])),
            0.5,
            f"{np.mean([agreement(run) for run in runs]):.2f} with comparisons",
        ),
        ablation=at_least(
            "|what is remembered − the newest reward|, never judged anew",
            staleness(trained(method, lab.seed, 3, relabels=False)),
            0.1,
        ),
    )


def trained(
    method: type[FromPreferencesOffPolicy], seed: int, rows: int, *, shuffled: bool = False, relabels: bool = True
) -> FromPreferencesOffPolicy:
    with Worlds(TASK, 1, seed=seed) as worlds:
        learner = RewardLearner(REWARD, worlds.observation_space, worlds.action_space, seed=seed)
        run = method(
            settings=PEBBLE(explore=EXPLORE, reset_updates=20),
            loop=OffPolicy(AGENT, worlds, seed=seed, row=ROW),
            asking=Asking(learner=learner, answers=Oracle(shuffled=shuffled, seed=seed), seed=seed),
            schedule=Schedule(labels=60, first=0.5),
            clip=5,
            steps=rows,
        )
        if not relabels:
            run.loop.relabel = lambda reward: None  # type: ignore[method-assign]
        for step in range(rows):
            run.step(step)
    return run


def earned(run: FromPreferencesOffPolicy) -> float:
    with Worlds(TASK, EPISODES, seed=10_000 + run.loop.worlds.seed) as unseen:
        return float(np.mean(returns(run.loop.likeliest, unseen, EPISODES)))


def staleness(run: FromPreferencesOffPolicy) -> float:
    """Of all that is remembered."""
    replay = run.loop.replay
    kept = [x[: len(replay)].numpy() for x in (replay.observation, replay.action, replay.following)]
    reward = run.asking.learner.ensemble.reward(kept[0], kept[1], kept[2])
    return float(np.abs(replay.reward[: len(replay)].numpy() - reward).max())


def neighbour_error(seed: int) -> float:
    state_MO = torch.randn(12, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    expected = [sorted(math.dist(a, b) for b in state_MO.tolist())[3] for a in state_MO.tolist()]
    return float((nearest(state_MO, state_MO, 3) - torch.tensor(expected)).abs().max())


def chosen_first(run: FromPreferencesOffPolicy) -> float:
    assert isinstance(run.asking.answers, Oracle)
    queries = run.asking.answers.queries
    first = [query for query in queries if query.key[0] == queries[0].key[0]]
    return sum(query.sampler != "random" for query in first) / len(first)


def agreement(run: FromPreferencesOffPolicy) -> float:
    """Correlation of what steps are worth to the ensemble and to the environment, on a grid of places."""
    place = np.stack(np.meshgrid(*[np.linspace(-1, 1, 9, dtype=np.float32)] * 2), -1).reshape(-1, 2)
    reward = run.asking.learner.ensemble.reward(place, np.zeros_like(place), place)
    return float(np.corrcoef(reward, -np.linalg.norm(place - np.array([0.7, 0.7]), axis=1))[0, 1])
