"""A reward of an agent's steps that is given from outside, in the place of its environment's own."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tercih.environments.control import Array, ControlError

StepReward = Callable[[Array, Array, Array], Array]
"""`reward(observation, action, following) -> reward`: arrays whose first axes are steps in any order, (B, …) or
(T, N, …), then the environment's own shapes; actions as the environment got them; one number for every step."""


def rewarded(
    reward: StepReward, observation: Array, action: Array, following: Array, *, shape: tuple[int, ...]
) -> Array:
    """The reward of these steps, in `shape`. ControlError where it is not one finite number for every step."""
    found: NDArray[np.float64] = np.asarray(reward(observation, action, following), dtype=np.float64)
    if found.shape != shape:
        raise ControlError(f"the reward function must give one number for every step, shape {shape}, got {found.shape}")
    if not np.isfinite(found).all():
        raise ControlError("the reward function gave a number that is not finite: look at what it was learned from")
    return found
