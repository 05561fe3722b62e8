"""Rooms whose reward remembers (Early et al. 2022, arXiv:2205.15367): what a step is worth depends on what came before.

A point walks in the unit square, in which there is a treasure. Each kind hides what decides the worth of being there:
- timer: −1 a step in the first half of the episode, when it is poisoned, 1 in the second;
- moving: 1 a step, while it goes to and fro between the sides;
- key: 1 a step, but only once the key, elsewhere, was picked up;
- charger: what was stored at the charger, all along the floor: 2/T for every step there, up to 1.

The rules are the paper's and the measures are not, for its episodes of 100 steps take long to learn from: places here
are twice as wide, so that episodes of 16 have as much to show. Numbers of the paper are not ours to reach.
Actions are 0 (stay) to 4; the agent's own step always slips a little.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = ("timer", "moving", "key", "charger")
STRIDE, SLIP = 0.1, 0.02
REACH, FLOOR = 0.2, 0.3
CYCLES = 1.25  # that the moving treasure goes through in an episode
MOVES = np.array([[0.0, 0.0], [STRIDE, 0.0], [-STRIDE, 0.0], [0.0, STRIDE], [0.0, -STRIDE]])
TREASURE, KEY = np.array([0.5, 0.8]), np.array([0.5, 0.2])
Floats = NDArray[np.float64]


@dataclass(kw_only=True)
class Rooms:
    """B rooms of one kind at once, stepped together for `steps` steps: `reset`, then `step(action_B)`.

    `hidden_B` is what no position shows, in [0, 1]: the share of the episode that is over (timer, moving), whether the
    key is held, what is stored.
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
        slip_B2 = self.dice.normal(scale=SLIP, size=(self.count, 2))
        self.position_B2 = np.clip(self.position_B2 + MOVES[action_B] + slip_B2, 0, 1)
        if self.kind in ("timer", "moving"):
            self.hidden_B += 1 / self.steps
        elif self.kind == "key":
            self.hidden_B = np.maximum(self.hidden_B, self._near(KEY))
        else:
            self.hidden_B = np.minimum(self.hidden_B + 2 / self.steps * (self.position_B2[:, 1] < FLOOR), 1)
        self.there_B = self._near(self._treasure())
        if self.kind == "timer":
            worth_B = np.where(self.hidden_B > 0.5 + 1e-9, 1.0, -1.0)
        else:
            worth_B = np.ones(self.count) if self.kind == "moving" else self.hidden_B
        return self.position_B2.copy(), worth_B * self.there_B

    def _treasure(self) -> Floats:
        """Where it is, one of 2 numbers a room or the same in all. A moving one begins in the middle, to the left."""
        if self.kind != "moving":
            return TREASURE
        across_B = np.abs((CYCLES * self.hidden_B + 0.25) % 1 * 2 - 1)
        return np.stack([REACH + (1 - 2 * REACH) * across_B, np.full(self.count, TREASURE[1])], 1)

    def _near(self, place: Floats) -> NDArray[np.bool_]:
        near_B: NDArray[np.bool_] = np.all(np.abs(self.position_B2 - place) < REACH, axis=1)
        return near_B


def walks(kind: str, count: int, steps: int, seed: int, *, drawn: int = 20) -> tuple[Floats, Floats, Floats]:
    """Positions (B, T, 2), rewards (B, T) and what was hidden (B, T) of walks that keep one direction for a while.

    Of `drawn` times as many, those with the rarest outcomes are kept, so that all outcomes come about equally often, as
    in the paper's data; an outcome is how many steps were at the treasure, and what they earned. With `drawn` 1 nearly
    all walks are worth nothing where a key or a charge is needed first.
    """
    dice = np.random.default_rng((KINDS.index(kind) if kind in KINDS else 0, seed))
    rooms = Rooms(kind=kind, count=count * drawn, steps=steps, dice=dice)
    rooms.reset()
    action_B = dice.integers(5, size=rooms.count)
    seen: list[tuple[Any, ...]] = []
    for _ in range(steps):
        action_B = np.where(dice.random(rooms.count) < 0.3, dice.integers(5, size=rooms.count), action_B)
        position_B2, reward_B = rooms.step(action_B)
        seen.append((position_B2, reward_B, rooms.hidden_B.copy(), rooms.there_B))
    position_BT2, reward_BT, hidden_BT, there_BT = (np.stack(each, 1) for each in zip(*seen, strict=True))
    outcome_B = there_BT.sum(1) * 1000 + np.round(4 * reward_BT.sum(1)).astype(np.int64)
    kept = np.sort(_evenly(outcome_B, count))
    return position_BT2[kept], reward_BT[kept], hidden_BT[kept]


def cut(reward_BT: NDArray[Any], seed: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Walks that end early, after a quarter of their steps or later: what each was worth until then, and after how many
    steps that was, both (B,)."""
    steps = reward_BT.shape[1]
    length_B = np.random.default_rng((len(KINDS), seed)).integers(steps // 4, steps + 1, size=len(reward_BT))
    return np.where(np.arange(steps) < length_B[:, None], reward_BT, 0).sum(1), length_B


def _evenly(outcome_B: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The first of every outcome, the second of every outcome, and so on, until there are `count`."""
    order_B = np.argsort(outcome_B, kind="stable")
    _, first, of_B = np.unique(outcome_B[order_B], return_index=True, return_inverse=True)
    nth_B = np.empty(len(order_B), np.int64)
    nth_B[order_B] = np.arange(len(order_B)) - first[of_B]
    return np.argsort(nth_B, kind="stable")[:count]
