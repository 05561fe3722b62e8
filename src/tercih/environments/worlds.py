"""Copies of one environment that are stepped together; an episode that is over begins anew by itself.

What a learner sees is arrays with one row a copy: N copies, observations and actions of the environment's own shapes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercih.environments.control import Array, ControlError, World


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Steps:
    """One step of every copy.

    `following` is what the action led to, also where that was an episode's last; `observation` is what is acted from
    next: the same, or the first of a new episode where `over`.
    """

    observation_N: Array
    following_N: Array
    reward_N: NDArray[np.float64]
    terminated_N: NDArray[np.bool_]
    truncated_N: NDArray[np.bool_]

    @property
    def over_N(self) -> NDArray[np.bool_]:
        return self.terminated_N | self.truncated_N


class Worlds:
    """`count` copies. Episode e of copy n is reset with a seed that depends on (`seed`, n, e) alone.

    Raises `ControlError` where the environment cannot be made, an action is not the environment's, or an observation or
    reward is not finite. Usable as a context manager.
    """

    def __init__(
        self, environment: str, count: int, *, options: Mapping[str, Any] | None = None, seed: int = 0
    ) -> None:
        if count < 1:
            raise ControlError(f"at least one copy of {environment} must run, got {count}")
        self.seed = seed
        self.worlds = [World(environment, options) for _ in range(count)]
        self.episode_N = [0] * count
        self.acted_N: list[list[Any]] = [[] for _ in range(count)]  # since the episode of each began
        self.observation_N: Array = np.zeros(0)
        """What is acted from now."""
        self.observation_space: Any = self.worlds[0].env.observation_space
        self.action_space: Any = self.worlds[0].env.action_space
        self.id, self.rate = environment, self.worlds[0].rate

    def __enter__(self) -> "Worlds":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.worlds)

    def close(self) -> None:
        for world in self.worlds:
            world.close()

    def reset(self) -> Array:
        """The first observations, of a new episode in every copy."""
        self.observation_N = np.stack([self._begin(n) for n in range(len(self))])
        return self.observation_N

    def step(self, action_N: Sequence[Any] | Array) -> Steps:
        """`action_N` has one action of the environment a copy."""
        made = [world.step(action) for world, action in zip(self.worlds, action_N, strict=True)]
        following_N = np.stack([step.following for step in made])
        reward_N = np.array([step.reward for step in made])
        for n, step in enumerate(made):
            if not (np.isfinite(step.following).all() and np.isfinite(step.reward)):
                raise ControlError(
                    f"{self.id} gave an observation or reward that is not finite, in copy {n} after the action"
                    f" {step.action!r}: its simulation has broken down"
                )
            self.acted_N[n].append(step.action)
        over = [step.terminated or step.truncated for step in made]
        self.observation_N = np.stack([self._begin(n) if over[n] else following_N[n] for n in range(len(self))])
        return Steps(
            observation_N=self.observation_N,
            following_N=following_N,
            reward_N=reward_N,
            terminated_N=np.array([step.terminated for step in made]),
            truncated_N=np.array([step.truncated for step in made]),
        )

    def state_dict(self) -> dict[str, Any]:
        """Episodes that are going on: which they are, and what was acted in them."""
        acted_N = [[np.asarray(action).tolist() for action in acted] for acted in self.acted_N]
        return {"episodes": [episode - 1 for episode in self.episode_N], "acted": acted_N}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Begin these episodes again and act in them what was acted; the next call is `step`, from `observation_N`."""
        space, self.episode_N = self.action_space, list(state["episodes"])
        self.reset()
        for n, acted in enumerate(state["acted"]):
            self.acted_N[n] = list(np.asarray(acted, dtype=space.dtype))
            for action in self.acted_N[n]:
                self.observation_N[n] = self.worlds[n].step(action).following

    def _begin(self, n: int) -> Array:
        self.acted_N[n] = []
        episode, self.episode_N[n] = self.episode_N[n], self.episode_N[n] + 1
        seed = np.random.SeedSequence([self.seed, n, episode]).generate_state(1)[0]
        return self.worlds[n].reset(int(seed))
