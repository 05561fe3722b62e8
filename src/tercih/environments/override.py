"""Somebody may act instead: a person or a rule replaces actions before the environment sees them; it is written down.

Saunders et al. 2017 (arXiv:1707.05173): the learner is told the reward of its own action, less a penalty where it was
replaced; from what was written down a blocker may be learned that stands in for the person (`tercih.agents.blocker`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tercih.environments.control import Array
from tercih.environments.worlds import Steps, Worlds

Instead = Callable[[Array, Array], Array]
"""`instead(observation_N, action_N) -> action_N`: what is done; the same action where it may be done."""


@dataclass(kw_only=True)
class Log:
    """Every action that was wanted before a watchful eye: B rows of what was observed, wanted, done, and by whom."""

    who: str = "rule"
    observations: list[Array] = field(default_factory=list)
    wanted: list[Array] = field(default_factory=list)
    done: list[Array] = field(default_factory=list)

    def add(self, observation_N: Array, wanted_N: Array, done_N: Array) -> None:
        self.observations.append(observation_N)
        self.wanted.append(np.array(wanted_N))
        self.done.append(np.array(done_N))

    def columns(self) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
        """(observation_B, wanted_B, done_B, replaced_B)."""
        wanted_B, done_B = np.concatenate(self.wanted), np.concatenate(self.done)
        return np.concatenate(self.observations), wanted_B, done_B, _differ(wanted_B, done_B)

    def write(self, path: Path | IO[bytes]) -> None:
        """As a NumPy archive: observation, wanted, done, replaced, who."""
        observation_B, wanted_B, done_B, replaced_B = self.columns()
        np.savez_compressed(
            path, observation=observation_B, wanted=wanted_B, done=done_B, replaced=replaced_B, who=np.array(self.who)
        )

    @classmethod
    def read(cls, path: Path) -> "Log":
        """What `write` wrote."""
        with np.load(path, allow_pickle=False) as kept:
            columns = {"observations": kept["observation"], "wanted": kept["wanted"], "done": kept["done"]}
            return cls(who=str(kept["who"]), **{name: [column] for name, column in columns.items()})


class Guarded(Worlds):
    """Worlds whose `step` does what `instead` says, takes `penalty` off the reward of what was replaced, and logs it.

    An agent remembers the action it wanted with what came of the other one. A reward from outside knows of no penalty.
    """

    def __init__(
        self, environment: str, count: int, instead: Instead, *, penalty: float = 1.0, who: str = "rule", **more: Any
    ) -> None:
        if not penalty >= 0:
            raise ValueError(f"guarded.penalty must be >= 0, got {penalty}")
        super().__init__(environment, count, **more)
        self.instead, self.penalty, self.log = instead, penalty, Log(who=who)

    def step(self, action_N: Sequence[Any] | Array) -> Steps:
        wanted_N, observation_N = np.asarray(action_N), self.observation_N
        done_N = np.asarray(self.instead(observation_N, wanted_N))
        made = super().step(done_N)
        self.log.add(observation_N, wanted_N, done_N)
        made.reward_N[_differ(wanted_N, done_N)] -= self.penalty
        return made


def _differ(one_N: Array, other_N: Array) -> NDArray[np.bool_]:
    differs: NDArray[np.bool_] = (one_N != other_N).reshape(len(one_N), -1).any(1)
    return differs
