"""Copies of one environment that are stepped together; an episode that is over begins anew by itself.

What a learner sees is arrays with one row a copy: N copies, observations and actions of the environment's own shapes.
The copies may be spread over processes; the numbers are the same.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tercih.environments.control import Array, ControlError
from tercih.environments.copies import Copies, Rows, memory
from tercih.environments.processes import Away, context

# Gymnasium's environments that only ever end by their limit of steps; whatever their version.
NEVER_TERMINATE = (
    "Pendulum",
    "HalfCheetah",
    "Swimmer",
    "Reacher",
    "Pusher",
    "HumanoidStandup",
    "Tercih/Maze",
    "Tercih/PointMass",
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Steps:
    """One step of every copy.

    `following` is what the action led to, also where that was an episode's last; `observation` is what is acted from
    next: the same, or the first of a new episode where `over`. Where ends are hidden nothing is ever `over`, and
    `following` is always `observation`; `ended` says for the report what is true.
    """

    observation_N: Array
    following_N: Array
    reward_N: NDArray[np.float64]
    terminated_N: NDArray[np.bool_]
    truncated_N: NDArray[np.bool_]
    ended_N: NDArray[np.bool_]

    @property
    def over_N(self) -> NDArray[np.bool_]:
        return self.terminated_N | self.truncated_N


class Worlds:
    """`count` copies. Episode e of copy n is reset with a seed that depends on (`seed`, n, e) alone.

    `processes`: this one and others, each with its share of the copies. `hide_ends`: the learner sees neither ends nor
    last observations, as if one episode went on for ever (Christiano et al. 2017, arXiv:1706.03741, §3.1).

    Raises `ControlError` where the environment cannot be made, an action is not the environment's, an observation or
    reward is not finite, or a process has died; after an error of the environment's all are closed. Usable as a context
    manager.
    """

    def __init__(
        self,
        environment: str,
        count: int,
        *,
        options: Mapping[str, Any] | None = None,
        seed: int = 0,
        processes: int = 1,
        hide_ends: bool = False,
    ) -> None:
        if count < 1:
            raise ControlError(f"at least one copy of {environment} must run, got {count}")
        if not 1 <= processes <= count:
            raise ControlError(f"{count} copies of {environment} run in 1 to {count} processes, got {processes}")
        self.id, self.count, self.seed, self.hide_ends = environment, count, seed, hide_ends
        self.options = dict(options or {})
        shares = [len(share) for share in np.array_split(np.arange(count), processes)]
        self.away: list[Away] = []
        self.closed = False
        self.here = Copies(environment, self.options, seed, 0, shares[0])
        world = self.here.worlds[0]
        layout = memory(count, world, context())
        self.rows, self.own_rows = Rows(layout, slice(0, count)), Rows(layout, slice(0, shares[0]))
        self.observation_space: Any = world.env.observation_space
        self.action_space: Any = world.env.action_space
        self.rate, self.versions = world.rate, world.versions
        try:
            for at in range(1, processes):
                first = sum(shares[:at])
                self.away.append(Away(environment, self.options, seed, first, shares[at], layout))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self.count

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.here.close()
            for each in self.away:
                each.close()

    @property
    def fixed_horizon(self) -> bool:
        """Whether all episodes are known to be equally long, so that their lengths say nothing about rewards."""
        env: Any = self.here.worlds[0].env
        name = self.id.rpartition("-v")[0]
        endless = name in NEVER_TERMINATE or getattr(env.unwrapped, "_terminate_when_unhealthy", None) is False
        return endless and self.limit is not None

    @property
    def limit(self) -> int | None:
        """After how many steps an episode is cut off."""
        spec: Any = self.here.worlds[0].env.spec
        return None if spec.max_episode_steps is None else int(spec.max_episode_steps)

    @property
    def observation_N(self) -> Array:
        """What is acted from now."""
        return self.rows.observation_N.copy()

    def reset(self) -> Array:
        """The first observations, of a new episode in every copy."""
        self._all("reset")
        self._finite(self.rows.observation_N)
        return self.observation_N

    def step(self, action_N: Sequence[Any] | Array) -> Steps:
        """`action_N` has one action of the environment a copy."""
        self.rows.action_N[:] = self._actions(action_N)
        self._all("step")
        rows = self.rows
        self._finite(rows.following_N, rows.observation_N, rows.reward_N)
        observation_N, ended_N = self.observation_N, rows.terminated_N | rows.truncated_N
        return Steps(
            observation_N=observation_N,
            following_N=observation_N if self.hide_ends else rows.following_N.copy(),
            reward_N=rows.reward_N.copy(),
            terminated_N=rows.terminated_N & (not self.hide_ends),
            truncated_N=rows.truncated_N & (not self.hide_ends),
            ended_N=ended_N,
        )

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on with the same bits, also elsewhere and in another number of processes."""
        return {**self._identity(), "copies": [copy for share in self._all("save") for copy in share]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there: the next call is `step`, from `observation_N`."""
        for name, mine in self._identity().items():
            if state[name] != mine:
                raise ControlError(
                    f"the checkpoint is of another task: its {name} is {state[name]}, here it is {mine}; name the same"
                    " one, or begin anew elsewhere"
                )
        copies = state["copies"]
        shares = [
            copies[: len(self.here.worlds)],
            *(copies[each.first : each.first + each.count] for each in self.away),
        ]
        self._all("load", shares)

    def _identity(self) -> dict[str, Any]:
        options = json.dumps(self.options, sort_keys=True, default=repr)
        return {"environment": self.id, "options": options, "seed": self.seed, "count": self.count}

    def _all(self, what: str, shares: Sequence[Any] | None = None) -> list[Any]:
        """What `Copies` does, in all processes at once: one answer a process."""
        if self.closed:
            raise ControlError(f"the copies of {self.id} are closed")
        abouts = [()] * (1 + len(self.away)) if shares is None else [(share,) for share in shares]
        try:
            for each, about in zip(self.away, abouts[1:], strict=True):
                each.ask(what, *about)
            here = getattr(self.here, what)(self.own_rows, *abouts[0])
            return [here, *(each.answer() for each in self.away)]
        except BaseException:  # also Ctrl-C: an answer that nobody took would be taken for the next one
            self.close()
            raise

    def _actions(self, action_N: Sequence[Any] | Array) -> Array:
        """Raises ControlError for the first that is not one of the environment's; NaN never is."""
        space = self.action_space
        given_N = np.asarray(action_N)
        if given_N.shape != (self.count, *space.shape) or not np.can_cast(given_N.dtype, space.dtype, "same_kind"):
            raise ControlError(
                f"{self.count} copies of {self.id} take actions of shape {(self.count, *space.shape)} and type"
                f" {space.dtype}, got {given_N.shape} and {given_N.dtype}"
            )
        given_N = given_N.astype(space.dtype)
        low, high = bounds(space)
        inside_N = ((given_N >= low) & (given_N <= high)).reshape(self.count, -1).all(1)
        if not inside_N.all():
            n = int(inside_N.argmin())
            raise ControlError(f"{given_N[n]!r}, given to copy {n}, is no action of {self.id}, which takes {space}")
        return given_N

    def _finite(self, *given: Array) -> None:
        for each_N in given:
            if each_N.dtype.kind == "f" and not np.isfinite(each_N).all():
                n = int(np.isfinite(each_N).reshape(self.count, -1).all(1).argmin())
                self.close()
                raise ControlError(
                    f"{self.id} gave an observation or reward that is not finite, in copy {n} after the action"
                    f" {self.rows.action_N[n]!r}: its simulation has broken down; take smaller actions or a smaller"
                    " time step"
                )


def bounds(space: Any) -> tuple[Any, Any]:
    """The smallest and the largest action, of spaces that are one array."""
    match type(space).__name__:
        case "Box":
            return space.low, space.high
        case "Discrete" | "MultiDiscrete":
            return space.start, space.start + (space.n if space.shape == () else space.nvec) - 1
        case "MultiBinary":
            return 0, 1
    raise ControlError(f"actions that are a {type(space).__name__} cannot be taken; only those that are one array")
