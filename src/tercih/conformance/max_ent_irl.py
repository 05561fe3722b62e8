"""Proof of maximum-entropy inverse reinforcement learning: the expert's features are matched, its reward is found."""

from collections.abc import Callable
from itertools import product

import numpy as np
from scipy.special import logsumexp

from tercih.agents.max_ent_irl import Inferred, expected_features, max_ent_irl
from tercih.agents.tabular import Floats, Tabular
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.grid import GAMMA, HORIZON, STATES, dice, grid, paths, uniform
from tercih.conformance.lab import Lab

Infer = Callable[..., Inferred]
FEATURE_SK = np.eye(STATES)
L2 = 0.01  # where paths are few


def prove(lab: Lab, method: Infer = max_ent_irl) -> Findings:
    few, many = lab.of(quick=(4, 1000), full=(4, 10_000))
    keys = [(lab.seed, i) for i in range(len(lab.worlds))]
    slippery, reward_S = grid(slippery=True), wanted(keys[0])
    expert_TSA = slippery.soft_policy(reward_S, HORIZON)
    expected_K = slippery.visits(expert_TSA) @ FEATURE_SK
    found = method(slippery, FEATURE_SK, expected_K, HORIZON)
    gap = float(np.abs(slippery.visits(found.policy_TSA) @ FEATURE_SK - expected_K).max())
    return Findings(
        identity=every(
            at_most("max difference of the features from the expert's", gap, 1e-5),
            at_most("max error of the reward, up to a constant", spread(found.reward_S - reward_S), 1e-4),
            at_most("log P(path) − Σr + log Z, where nothing slips", path_error(method, keys[0]), 1e-4),
        ),
        ordering=above_zero(
            f"regret where nothing slips, from {few} − {many} paths where all does",
            [regret(method, key, few) - regret(method, key, many) for key in keys],
        ),
        negative_control=at_least(
            "regret from one who acts at random",
            float(np.mean([regret(method, key, many, aimless=True) for key in keys])),
            0.5,
            "0 best, 1 at random",
        ),
        ablation=at_least(
            "max difference of the features, reward not refitted",
            unfitted(slippery, expected_K),
            0.1,
            f"{gap:.1e} fitted",
        ),
    )


def wanted(key: tuple[int, ...]) -> Floats:
    return dice(*key, 0).normal(size=STATES)


def spread(off_S: Floats) -> float:
    return float(off_S.max() - off_S.min())


def path_error(method: Infer, key: tuple[int, ...], horizon: int = 5) -> float:
    """Ziebart et al. 2008, eq. 2: without chance, a path's probability is exp(its reward)/Z, here over all 4⁴ choices.

    The policy's own probabilities against that, of the reward that was inferred.
    """
    world, reward_S = grid(slippery=False), wanted(key)
    expected_K = world.visits(world.soft_policy(reward_S, horizon)) @ FEATURE_SK
    found = method(world, FEATURE_SK, expected_K, horizon)
    logp, total = [], []
    for choices in product(range(4), repeat=horizon - 1):
        at, chance, reward = 0, 0.0, 0.0
        for t, action in enumerate(choices):
            chance += float(np.log(found.policy_TSA[t, at, action]))
            reward += reward_S[at]
            at = int(world.transition_SAS[at, action].argmax())
        logp.append(chance)
        total.append(reward + reward_S[at])
    return float(np.abs(np.array(logp) - (np.array(total) - logsumexp(total))).max())


def regret(method: Infer, key: tuple[int, ...], count: int, *, aimless: bool = False) -> float:
    """Of the best policy for what was inferred, in a world with other dynamics and starts: 0 best, 1 at random."""
    shown, other, reward_S = grid(slippery=True), grid(slippery=False, everywhere=True), wanted(key)
    shown_TSA = uniform(shown, HORIZON) if aimless else shown.soft_policy(reward_S, HORIZON)
    expected_K = expected_features(FEATURE_SK, paths(shown, shown_TSA, count, (*key, 1)))
    found = method(shown, FEATURE_SK, expected_K, HORIZON, l2=L2)
    best, mine, at_random = (
        float(other.discounted_visits(policy_SA, GAMMA) @ reward_S)
        for policy_SA in (
            other.best_policy(reward_S, GAMMA),
            other.best_policy(found.reward_S, GAMMA),
            uniform(other, 1)[0],
        )
    )
    return (best - mine) / (best - at_random)


def unfitted(world: Tabular, expected_K: Floats) -> float:
    """The first step of a gradient's way, and no other: what the expert does more than one at random."""
    first_K = expected_K - world.visits(uniform(world, HORIZON)) @ FEATURE_SK
    policy_TSA = world.soft_policy(FEATURE_SK @ first_K, HORIZON)
    return float(np.abs(world.visits(policy_TSA) @ FEATURE_SK - expected_K).max())
