"""Where inverse reinforcement learning is proven: a grid of 4 × 4 whose rewards are known, and paths through it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tercih.agents.tabular import Floats, Tabular
from tercih.environments.control import World

STATES, HORIZON, GAMMA = 16, 20, 0.9


def grid(*, slippery: bool, everywhere: bool = False) -> Tabular:
    """Gymnasium's FrozenLake without holes or goal; begins in a corner, or `everywhere`."""
    desc = ["SSSS"] * 4 if everywhere else ["SFFF", "FFFF", "FFFF", "FFFF"]
    with World("FrozenLake-v1", {"desc": desc, "is_slippery": slippery}) as world:
        return Tabular.of(world)


def dice(*key: int) -> np.random.Generator:
    return np.random.default_rng(key)


def paths(world: Tabular, policy_TSA: Floats, count: int, key: Sequence[int]) -> NDArray[np.int64]:
    """The states of `count` drawn paths, shape (count, T)."""
    draws = dice(*key)

    def drawn(chance_EX: Floats) -> NDArray[np.int64]:
        return np.asarray((chance_EX.cumsum(1)[:, :-1] < draws.random((count, 1))).sum(1))

    at_E = drawn(np.repeat(world.start_S[None], count, axis=0))
    seen = []
    for policy_SA in policy_TSA:
        seen.append(at_E)
        at_E = drawn(world.transition_SAS[at_E, drawn(policy_SA[at_E])])
    return np.stack(seen, axis=1)


def uniform(world: Tabular, horizon: int) -> Floats:
    """Who wants nothing. Shape (T, S, A)."""
    states, actions = world.transition_SAS.shape[:2]
    return np.full((horizon, states, actions), 1 / actions)
