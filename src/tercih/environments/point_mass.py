"""A point that is pushed about a square with a goal and a region where it must not be (after Reddy et al. 2020, §5).

Everything is in units of half the square's side: positions are in [−1, 1].
"""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

GOAL, UNSAFE, RADIUS = np.array([0.7, 0.7]), np.array([0.0, 0.0]), 0.35
FASTEST = 0.2
"""What an action of 1 moves the point by."""


class PointMass(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Observed is where the point is. The reward of a step is −(distance to the goal) − `danger`·(whether it ends in
    the unsafe disc). Episodes begin in the lower left corner."""

    def __init__(self, danger: float = 0.0) -> None:
        self.metadata = {"render_modes": [], "render_fps": 10}
        self.observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
        self.danger, self.at = danger, np.zeros(2, dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.at = self.np_random.uniform(-0.9, -0.5, 2).astype(np.float32)
        return self.at, {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.at = np.clip(self.at + np.float32(FASTEST) * action, -1, 1).astype(np.float32)
        reward = -float(np.linalg.norm(self.at - GOAL)) - self.danger * float(unsafe(self.at))
        return self.at, reward, False, False, {}


def unsafe(position: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether positions (…, 2) lie in the unsafe disc."""
    return np.asarray(np.linalg.norm(position - UNSAFE, axis=-1) < RADIUS)
