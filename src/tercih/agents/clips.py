"""Moments of a rollout that people can compare, and when they are asked about.

Shape suffixes: T steps of a rollout of N copies, L steps of a clip; further dimensions are the environment's own.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from tercih.agents.clip_steps import clip_steps
from tercih.agents.experience import Played
from tercih.data.steps import Steps
from tercih.environments.control import Array
from tercih.environments.worlds import Worlds


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Excerpt:
    """Steps `first` to before `first` + `length` of copy `copy` in a rollout; `before` is how the copies stood when the
    rollout began (`Worlds.state_dict`)."""

    played: Played
    before: Mapping[str, Any]
    copy: int
    first: int
    length: int

    @property
    def steps(self) -> slice:
        return slice(self.first, self.first + self.length)

    @property
    def observation_L(self) -> Array:
        return self.played.observation_TN[self.steps, self.copy]

    @property
    def action_L(self) -> Array:
        return self.played.action_TN[self.steps, self.copy]

    @property
    def reward_L(self) -> Array:
        """The environment's own: for simulated people, and for reports."""
        return self.played.reward_TN[self.steps, self.copy]

    def acted(self, worlds: Worlds) -> Steps:
        """All that is needed to act it again, to film it, and to learn from it elsewhere."""
        return clip_steps(worlds, self.before, self.played.arrays, self.copy, self.first, self.length)


def cut(played: Played, before: Mapping[str, Any], length: int) -> list[Excerpt]:
    """A rollout as clips that do not overlap, none of them with the end of one episode and the beginning of another
    (unless ends are hidden). ValueError where the rollout is shorter than a clip."""
    over_TN = played.terminated_TN | played.truncated_TN
    steps, copies = over_TN.shape
    if steps < length:
        raise ValueError(
            f"clips of {length} steps cannot be cut out of rollouts of {steps}; make the clips shorter or the rollouts"
            " longer"
        )
    found = []
    for copy in range(copies):
        bounds = [0, *(np.flatnonzero(over_TN[:, copy]) + 1).tolist(), steps]
        for begin, end in pairwise(bounds):
            found += [(first, copy) for first in range(begin, end - length + 1, length)]
    return [
        Excerpt(played=played, before=before, copy=copy, first=first, length=length) for first, copy in sorted(found)
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """How many of `labels` answers have been asked for after a share of the training (Christiano et al. 2017, App. A):
    a share `first` before it, about what the untrained policy does, then at a rate in proportion to d/(t + d), where t
    is the share of the training that is done and d `decay`."""

    labels: int = 700
    first: float = 0.25
    decay: float = 0.4

    def __post_init__(self) -> None:
        if self.labels < 1:
            raise ValueError(f"schedule.labels must be >= 1, got {self.labels}")
        if not 0 < self.first <= 1:
            raise ValueError(f"schedule.first must be in (0, 1], got {self.first}")
        if not self.decay > 0:
            raise ValueError(f"schedule.decay must be > 0, got {self.decay}")

    def due(self, done: float) -> int:
        """`done` in [0, 1]."""
        begin = min(self.labels, max(1, round(self.first * self.labels)))
        share = math.log1p(done / self.decay) / math.log1p(1 / self.decay)
        return begin + math.floor((self.labels - begin) * share + 1e-9)


def pairs(clips: int, count: int, dice: np.random.Generator) -> Array:
    """`count` different pairs of that many clips at random (all of them where there are fewer), shape (count, 2)."""
    most = clips * (clips - 1) // 2
    drawn = dice.choice(most, size=min(count, most), replace=False)
    second = ((1 + np.sqrt(1 + 8 * drawn)) // 2).astype(np.int64)
    return np.stack([drawn - second * (second - 1) // 2, second], 1)
