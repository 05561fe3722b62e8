"""Proof of potential-based shaping: on random tables nothing that is best changes, and a good one hastens."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.lab import Lab
from tercih.rewards.shaping import Shaping
from tercih.rewards.steps import StepReward

Floats = NDArray[np.float64]
STATES, ACTIONS, GAMMA = 8, 3, 0.9
Make = Callable[..., StepReward]
"""Of (potential, gamma) or (potential, gamma, ends), as `Shaping`."""


def prove(lab: Lab, shaping: Make = Shaping) -> Findings:
    steps = lab.of(quick=300, full=1000)
    dice = [np.random.default_rng((lab.seed, i)) for i in range(lab.of(quick=3, full=5))]
    worlds = [random_world(np.random.default_rng((lab.seed, 7, i))) for i in range(20)]
    advice = [np.random.default_rng((lab.seed, 8, i)).normal(size=STATES) * 3 for i in range(20)]
    forth, back_S = np.arange(STATES + 1) / STATES, np.arange(STATES, -1, -1) / STATES
    pairs = [(goals(shaping(lambda s: forth[s], GAMMA, at_end), steps, d), goals(None, steps, d)) for d in dice]
    back = [goals(shaping(lambda s: back_S[s], GAMMA, at_end), steps, d) for d in dice]
    changes = [changed(world, shaping, phi) for world, phi in zip(worlds, advice, strict=True)]
    plain = [changed(world, bonus_alone, phi) for world, phi in zip(worlds, advice, strict=True)]
    return Findings(
        identity=every(
            at_most("states whose best action changes, 20 worlds", sum(each[0] for each in changes), 0),
            at_most("|Q' − (Q − Φ)| (their theorem)", max(each[1] for each in changes), 1e-9),
        ),
        ordering=above_zero(
            f"times at the goal in {steps} steps, shaped − plain",
            [float(shaped - without) for shaped, without in pairs],
        ),
        negative_control=at_most(
            "the same, potential turned round", float(np.mean(back) - np.mean([without for _, without in pairs])), 0
        ),
        ablation=at_least("states whose best action changes by Φ(s') alone", sum(each[0] for each in plain), 20),
    )


def at_end(place: Floats) -> Floats:
    over: Floats = place == STATES
    return over


def bonus_alone(potential: Callable[[Floats], Floats], gamma: float, ends: object = None) -> StepReward:
    """Not potential-based: what is observed is rewarded, every time."""
    return lambda observation, action, following: potential(following)


def random_world(dice: np.random.Generator) -> tuple[Floats, Floats]:
    """P(s' | s, a), (S, A, S), and r(s, a, s'), (S, A, S)."""
    chance = dice.dirichlet(np.full(STATES, 0.3), size=(STATES, ACTIONS))
    return chance, dice.normal(size=(STATES, ACTIONS, STATES))


def best_values(chance_SAS: Floats, reward_SAS: Floats) -> Floats:
    """Q*, (S, A), by value iteration to rounding."""
    value_SA = np.zeros((STATES, ACTIONS))
    for _ in range(400):
        value_SA = (chance_SAS * (reward_SAS + GAMMA * value_SA.max(1))).sum(2)
    return value_SA


def changed(world: tuple[Floats, Floats], shaping: Make, potential_S: Floats) -> tuple[int, float]:
    """In how many states another action is best under the bonus, and how far Q' is from Q − Φ."""
    chance_SAS, reward_SAS = world
    before, action, after = np.indices((STATES, ACTIONS, STATES))
    bonus_SAS = shaping(lambda s: potential_S[s], GAMMA)(before, action, after)
    plain_SA, shaped_SA = best_values(chance_SAS, reward_SAS), best_values(chance_SAS, reward_SAS + bonus_SAS)
    off = np.abs(shaped_SA - (plain_SA - potential_S[:, None])).max()
    return int((plain_SA.argmax(1) != shaped_SA.argmax(1)).sum()), float(off)


def goals(bonus: StepReward | None, steps: int, dice: np.random.Generator) -> int:
    """How often Q-learning arrives at the end of a corridor, where alone there is a reward."""
    value_SA, place, arrived = np.zeros((STATES + 1, 2)), 0, 0
    for _ in range(steps):
        best = np.flatnonzero(value_SA[place] == value_SA[place].max())
        action = int(dice.integers(2)) if dice.random() < 0.1 else int(dice.choice(best))
        after = max(place + (1 if action else -1), 0)
        over = after == STATES
        reward = float(over)
        if bonus is not None:
            reward += float(bonus(np.array([place]), np.array([action]), np.array([after]))[0])
        target = reward + (0.0 if over else GAMMA * value_SA[after].max())
        value_SA[place, action] += 0.5 * (target - value_SA[place, action])
        arrived, place = arrived + over, 0 if over else after
    return arrived
