"""Proof of apprenticeship learning: as far as features see the mixture does what the expert does, and earns as much."""

from collections.abc import Callable

import numpy as np

from tercih.agents.apprenticeship import Apprentice, apprenticeship
from tercih.agents.tabular import Floats, Tabular
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.grid import GAMMA, STATES, dice, grid, uniform
from tercih.conformance.lab import Lab

FEATURES, EPSILON = 6, 1e-3
Learn = Callable[..., Apprentice]


def prove(lab: Lab, method: Learn = apprenticeship) -> Findings:
    world = grid(slippery=True)
    rounds = lab.of(quick=3000, full=30_000)
    keys = [(lab.seed, i) for i in range(len(lab.worlds))]
    learned = [learn(method, world, key, rounds) for key in keys]
    (feature_SK, weight_K), first = task(keys[0]), learned[0]
    expert_K = expected(world, expert(world, keys[0]), feature_SK)
    mixed_K = mixture(world, first, feature_SK)
    last_K = expected(world, first.policy_ISA[-1], feature_SK)
    aimless = learn(method, world, keys[0], rounds, aimless=True)
    return Findings(
        identity=every(
            at_most(
                "distance of the mixture's features from the expert's",
                float(np.linalg.norm(mixed_K - expert_K)),
                EPSILON,
            ),
            at_most("|return − the expert's|, ‖w‖ = 1", abs(float((mixed_K - expert_K) @ weight_K)), EPSILON),
            at_most("most that a round adds to the distance", float(np.diff(first.margin_I).max()), 1e-9),
            at_most("|Σ shares − 1|", abs(float(first.share_I.sum()) - 1), 1e-9),
        ),
        ordering=above_zero(
            "return above that of random actions (expert: 1)",
            [gain(world, key, each) for key, each in zip(keys, learned, strict=True)],
        ),
        negative_control=at_most("gain from one who acts at random", gain(world, keys[0], aimless), 0.1),
        ablation=at_least("distance of the last policy alone", float(np.linalg.norm(last_K - expert_K)), 10 * EPSILON),
    )


def task(key: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Features of every state, and what the expert makes of them, of length 1."""
    draws = dice(*key, 2)
    weight_K = draws.normal(size=FEATURES)
    return draws.random((STATES, FEATURES)), weight_K / np.linalg.norm(weight_K)


def expert(world: Tabular, key: tuple[int, ...]) -> Floats:
    """Who sometimes does not do the best: nine times in ten."""
    feature_SK, weight_K = task(key)
    best_SA = world.best_policy(feature_SK @ weight_K, GAMMA)
    return np.asarray(0.9 * best_SA + 0.1 * uniform(world, 1)[0])


def expected(world: Tabular, policy_SA: Floats, feature_SK: Floats) -> Floats:
    return np.asarray(world.discounted_visits(policy_SA, GAMMA) @ feature_SK)


def mixture(world: Tabular, learned: Apprentice, feature_SK: Floats) -> Floats:
    of_each_IK = np.stack([expected(world, each_SA, feature_SK) for each_SA in learned.policy_ISA])
    return np.asarray(learned.share_I @ of_each_IK)


def learn(method: Learn, world: Tabular, key: tuple[int, ...], rounds: int, *, aimless: bool = False) -> Apprentice:
    feature_SK, _ = task(key)
    shown_SA = uniform(world, 1)[0] if aimless else expert(world, key)
    return method(world, feature_SK, expected(world, shown_SA, feature_SK), GAMMA, epsilon=EPSILON, rounds=rounds)


def gain(world: Tabular, key: tuple[int, ...], learned: Apprentice) -> float:
    feature_SK, weight_K = task(key)
    mine = float(mixture(world, learned, feature_SK) @ weight_K)
    low, high = (
        float(expected(world, each_SA, feature_SK) @ weight_K) for each_SA in (uniform(world, 1)[0], expert(world, key))
    )
    return (mine - low) / (high - low)
