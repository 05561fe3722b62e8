"""What an agent earns of the environment's own reward."""

from collections.abc import Callable

import numpy as np

from tercih.environments.control import Array
from tercih.environments.worlds import Worlds

Act = Callable[[Array], Array]
"""`act(observation_N) -> action_N`, both as the environment has them."""


def returns(act: Act, worlds: Worlds, episodes: int) -> list[float]:
    """Of whole episodes that begin now, undiscounted.

    Every copy plays as many (one more where they do not divide), so that short episodes do not crowd out long ones; of
    the last ones only `episodes` in all are kept.
    """
    if episodes < 1:
        raise ValueError(f"a mean return needs episodes >= 1, got {episodes}")
    found: list[list[float]] = [[] for _ in range(len(worlds))]
    share = -(-episodes // len(worlds))
    observation_N, return_N = worlds.reset(), np.zeros(len(worlds))
    while min(map(len, found)) < share:
        made = worlds.step(act(observation_N))
        observation_N, return_N = made.observation_N, return_N + made.reward_N
        for n in np.flatnonzero(made.ended_N):
            found[n].append(float(return_N[n]))
            return_N[n] = 0.0
    by_round = [of_copy[at] for at in range(share) for of_copy in found]
    return by_round[:episodes]
