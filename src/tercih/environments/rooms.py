"""Rooms whose reward remembers (Early et al. 2022, arXiv:2205.15367): what a step is worth depends on what came before.

A point walks in the unit square. Each kind has a treasure, and something hidden that decides what being there is worth:
- timer: the treasure is worth something only in the second half of the episode;
- moving: it is on one side in the first half, on the other in the second;
- key: it is worth something only once the key, elsewhere, was picked up;
- charger: every step at the charger stores as much as it can spend, and the treasure spends it.

Ours are after the paper's four rooms in what is hidden, not in their measures: numbers of theirs are not ours to reach.
Actions are 0 (stay) to 4; the agent's own step always slips a little.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = ("timer", "moving", "key", "charger")
STRIDE, NEAR = 0.1, 0.25
FULL = 20
MOVES = np.array([[0.0, 0.0], [STRIDE, 0.0], [-STRIDE, 0.0], [0.0, STRIDE], [0.0, -STRIDE]])
TREASURE, OTHER = np.array([0.8, 0.8]), np.array([0.2, 0.2])
Floats = NDArray[np.float64]


@dataclass(kw_only=True)
class Rooms:
    """B rooms of one kind at once, stepped together for `steps` steps: `reset`, then `step(action_B)`.

    `hidden_B` is what no position shows: the step (timer, moving), whether the key is held, what is stored.
    """

    kind: str
    count: int
    steps: int
    dice: np.random.Generator

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a room is one of {', '.join(KINDS)}, got {self.kind!r}")

    def reset(self) -> Floats:
        self.position_B2 = self.dice.uniform(size=(self.count, 2))
        self.hidden_B = np.zeros(self.count)
        return self.position_B2.copy()

    def step(self, action_B: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """(position_B2, reward_B)."""
        slip_B2 = self.dice.normal(scale=0.02, size=(self.count, 2))
        self.position_B2 = np.clip(self.position_B2 + MOVES[action_B] + slip_B2, 0, 1)
        at_treasure_B, at_other_B = (self._near(place) for place in (TREASURE, OTHER))
        if self.kind in ("timer", "moving"):
            self.hidden_B += 1
        elif self.kind == "key":
            self.hidden_B = np.maximum(self.hidden_B, at_other_B.astype(np.float64))
        reward_B: Any
        if self.kind == "timer":
            reward_B = at_treasure_B & (self.hidden_B > self.steps // 2)
        elif self.kind == "moving":
            reward_B = np.where(self.hidden_B <= self.steps // 2, at_treasure_B, at_other_B)
        elif self.kind == "key":
            reward_B = at_treasure_B & (self.hidden_B > 0)
        else:
            reward_B = at_treasure_B & (self.hidden_B > 0)
            self.hidden_B = np.clip(self.hidden_B + at_other_B - reward_B, 0, FULL)
        return self.position_B2.copy(), reward_B.astype(np.float64)

    def _near(self, place: Floats) -> NDArray[np.bool_]:
        near_B: NDArray[np.bool_] = np.all(np.abs(self.position_B2 - place) < NEAR, axis=1)
        return near_B


def walks(kind: str, count: int, steps: int, seed: int) -> tuple[Floats, Floats, Floats]:
    """Positions (B, T, 2), rewards (B, T) and what was hidden (B, T) of walks that keep one direction for a while."""
    dice = np.random.default_rng((KINDS.index(kind) if kind in KINDS else 0, seed))
    rooms = Rooms(kind=kind, count=count, steps=steps, dice=dice)
    rooms.reset()
    action_B = dice.integers(5, size=count)
    kept: list[tuple[Any, Any, Any]] = []
    for _ in range(steps):
        action_B = np.where(dice.random(count) < 0.3, dice.integers(5, size=count), action_B)
        position_B2, reward_B = rooms.step(action_B)
        kept.append((position_B2, reward_B, rooms.hidden_B.copy()))
    position_BT2, reward_BT, hidden_BT = (np.stack(each, 1) for each in zip(*kept, strict=True))
    return position_BT2, reward_BT, hidden_BT
