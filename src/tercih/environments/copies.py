"""Copies of one environment that one process steps, row by row, in memory that processes share."""

import math
from collections.abc import Mapping, Sequence
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercih.environments.control import Array, World
from tercih.environments.states import Kept, keeper

Layout = dict[str, tuple[Any, np.dtype[Any], tuple[int, ...]]]


def memory(count: int, world: World, context: BaseContext) -> Layout:
    """Room for what goes into `count` copies of this world and what comes out."""
    seen: Any = world.env.observation_space
    acted: Any = world.env.action_space
    layout: Layout = {}
    for name, kind, shape in (
        ("action", acted.dtype, acted.shape),
        ("observation", seen.dtype, seen.shape),
        ("following", seen.dtype, seen.shape),
        ("reward", np.float64, ()),
        ("terminated", np.bool_, ()),
        ("truncated", np.bool_, ()),
    ):
        size = count * math.prod(shape) * np.dtype(kind).itemsize
        layout[name] = (context.RawArray("b", size), np.dtype(kind), (count, *shape))
    return layout


class Rows:
    """Some copies' rows of that memory: arrays whose first axis is the copies."""

    action_N: Array
    observation_N: Array
    following_N: Array
    reward_N: NDArray[np.float64]
    terminated_N: NDArray[np.bool_]
    truncated_N: NDArray[np.bool_]

    def __init__(self, layout: Layout, which: slice) -> None:
        for name, (room, kind, shape) in layout.items():
            setattr(self, f"{name}_N", np.frombuffer(room, kind).reshape(shape)[which])


def seed_of(seed: int, n: int, episode: int) -> int:
    """What episode number `episode` of copy `n` is reset with."""
    return int(np.random.SeedSequence([seed, n, episode]).generate_state(1)[0])


class Copies:
    """Copies `first`, `first` + 1, … Episode e of copy n is reset with a seed that depends on (`seed`, n, e) alone."""

    def __init__(self, environment: str, options: Mapping[str, Any], seed: int, first: int, count: int) -> None:
        self.seed, self.first = seed, first
        self.worlds = [World(environment, options) for _ in range(count)]
        self.keepers = [keeper(world) for world in self.worlds]
        self.episode_N = [0] * count

    def close(self) -> None:
        for world in self.worlds:
            world.close()

    def reset(self, rows: Rows) -> None:
        for n in range(len(self.worlds)):
            rows.observation_N[n] = self._begin(n)

    def step(self, rows: Rows) -> None:
        # No views: an environment may keep its action, and the row will hold the next one.
        action_N = rows.action_N.tolist() if rows.action_N.ndim == 1 else rows.action_N.copy()
        for n, (world, action) in enumerate(zip(self.worlds, action_N, strict=True)):
            self.keepers[n].acts(action)
            rows.reward_N[n], terminated, truncated = world.act(action)
            rows.following_N[n] = world.observation
            rows.terminated_N[n], rows.truncated_N[n] = terminated, truncated
            rows.observation_N[n] = self._begin(n) if terminated or truncated else world.observation

    def save(self, rows: Rows) -> list[Kept]:
        return [{"episode": at} | keeper.save() for at, keeper in zip(self.episode_N, self.keepers, strict=True)]

    def load(self, rows: Rows, kept: Sequence[Kept]) -> None:
        for n, one in enumerate(kept):
            self.keepers[n].load(one)
            self.episode_N[n] = one["episode"]
            rows.observation_N[n] = self.worlds[n].observation

    def _begin(self, n: int) -> Array:
        episode, self.episode_N[n] = self.episode_N[n], self.episode_N[n] + 1
        seed = seed_of(self.seed, self.first + n, episode)
        self.keepers[n].began(seed)
        return self.worlds[n].reset(seed)
