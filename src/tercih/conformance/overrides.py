"""Proof of overrides, on Gymnasium's walk along a cliff: whoever watches prevents every fall, and a blocker that was
learned from what was replaced prevents nearly all of them."""

from collections.abc import Callable

import numpy as np
from gymnasium.spaces import Discrete

from tercih.agents.blocker import Blocker
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.lab import Lab
from tercih.environments.control import Array
from tercih.environments.override import Guarded, Instead, Log

CLIFF, WIDTH = "CliffWalking-v1", 12
UP, RIGHT, DOWN, LEFT = range(4)
FALL = -100.0  # what a fall is rewarded with
PENALTY = 7.0


def prove(lab: Lab, guarded: type[Guarded] = Guarded) -> Findings:
    steps = lab.of(quick=400, full=2000)
    seeds = [lab.seed * 100 + i for i in range(lab.of(quick=3, full=5))]
    watched = [walk(guarded, watch, steps, seed) for seed in seeds]
    alone = [walk(guarded, allow, steps, seed + 50)[0] for seed in seeds]
    blocked = [walk(guarded, fitted(log), steps, seed + 50)[0] for seed, (_, log) in zip(seeds, watched, strict=True)]
    unseen = walk(guarded, watch, steps, seeds[0] + 50)[1]
    kept = [wanted_again(guarded, penalty, 4 * steps, seeds[0]) for penalty in (PENALTY, 0.0)]
    return Findings(
        identity=every(
            at_most("falls while somebody watches", sum(falls for falls, _ in watched), 0),
            at_most("actions done − what was said to be done", difference(watched[0][1]), 0),
            at_most("|reward − (the environment's − penalty)|", penalty_difference(guarded), 1e-12),
            at_most("replaced actions that the blocker lets pass", missed(watched[0][1]), 0),
        ),
        ordering=above_zero(
            f"falls prevented by the learned blocker in {steps} steps",
            [float(a - b) for a, b in zip(alone, blocked, strict=True)],
        ),
        negative_control=at_most(
            "balanced accuracy on an unseen walk, shuffled labels",
            accuracy(fitted(shuffled(watched[0][1])), unseen),
            0.8,
            f"0.5 by chance, {accuracy(fitted(watched[0][1]), unseen):.2f} with real labels",
        ),
        ablation=at_least(
            "actions to be replaced after learning, no penalty / with penalty", kept[1] / max(kept[0], 1), 2.0
        ),
    )


def into_the_cliff(observation_N: Array, action_N: Array) -> Array:
    row_N, column_N = np.divmod(observation_N, WIDTH)
    from_above_N = (row_N == 2) & (action_N == DOWN) & (column_N > 0) & (column_N < WIDTH - 1)
    along_N = (row_N == 3) & (column_N == 0) & (action_N == RIGHT)
    into_N: Array = from_above_N | along_N
    return into_N


def watch(observation_N: Array, action_N: Array) -> Array:
    return np.where(into_the_cliff(observation_N, action_N), UP, action_N)


def allow(observation_N: Array, action_N: Array) -> Array:
    return action_N


def walk(guarded: type[Guarded], instead: Instead, steps: int, seed: int) -> tuple[int, Log]:
    """Falls of a walk at random, mostly near the cliff, and the log of it."""
    dice, falls = np.random.default_rng(seed), 0
    with guarded(CLIFF, 4, instead, penalty=0.0, seed=seed) as worlds:
        worlds.reset()
        for _ in range(steps // 4):
            made = worlds.step(dice.choice(4, size=4, p=[0.2, 0.3, 0.3, 0.2]))
            falls += int((made.reward_N <= FALL).sum())
        return falls, worlds.log


def fitted(log: Log) -> Callable[[Array, Array], Array]:
    return Blocker().fit(log, Discrete(48), Discrete(4))


def shuffled(log: Log) -> Log:
    """The same actions, of which as many others were replaced."""
    observation_B, wanted_B, _, replaced_B = log.columns()
    at_B = np.random.default_rng(0).permutation(replaced_B)
    other = Log()
    other.add(observation_B, wanted_B, np.where(at_B, (wanted_B + 1) % 4, wanted_B))
    return other


def difference(log: Log) -> int:
    observation_B, wanted_B, done_B, replaced_B = log.columns()
    said_B = watch(observation_B, wanted_B)
    return int((done_B != said_B).sum() + (replaced_B != into_the_cliff(observation_B, wanted_B)).sum())


def missed(log: Log) -> int:
    observation_B, wanted_B, _, replaced_B = log.columns()
    return int((fitted(log)(observation_B, wanted_B)[replaced_B] == wanted_B[replaced_B]).sum())


def accuracy(instead: Instead, log: Log) -> float:
    """The mean of two shares: of what was replaced in this log, what it blocks; of the rest, what it lets pass."""
    observation_B, wanted_B, _, replaced_B = log.columns()
    blocks_B = instead(observation_B, wanted_B) != wanted_B
    return float(blocks_B[replaced_B].mean() + (~blocks_B[~replaced_B]).mean()) / 2


def penalty_difference(guarded: type[Guarded]) -> float:
    """The first step from the start: right is replaced, up is not; either is rewarded with −1."""
    with guarded(CLIFF, 2, watch, penalty=PENALTY) as worlds:
        worlds.reset()
        return float(np.abs(worlds.step(np.array([RIGHT, UP])).reward_N - [-1 - PENALTY, -1]).max())


def wanted_again(guarded: type[Guarded], penalty: float, steps: int, seed: int) -> int:
    """How many actions had to be replaced in the last quarter of tabular Q-learning (ε = 0.1)."""
    dice, value_SA = np.random.default_rng(seed), np.zeros((48, 4))
    with guarded(CLIFF, 1, watch, penalty=penalty, seed=seed) as worlds:
        here = int(worlds.reset()[0])
        for _ in range(steps):
            best = np.flatnonzero(value_SA[here] == value_SA[here].max())
            action = int(dice.integers(4)) if dice.random() < 0.1 else int(dice.choice(best))
            made = worlds.step(np.array([action]))
            after = int(made.following_N[0])
            future = 0.0 if made.terminated_N[0] else value_SA[after].max()
            value_SA[here, action] += 0.5 * (made.reward_N[0] + future - value_SA[here, action])
            here = int(made.observation_N[0])
        return int(worlds.log.columns()[3][-steps // 4 :].sum())
