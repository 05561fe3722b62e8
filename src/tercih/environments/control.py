"""Gymnasium's environments, acted in and rendered; Gymnasium itself is imported only when one is made.

An environment is named by an id that Gymnasium knows. Ids such as "module:Name-v0", which import what they name, are
refused: they come from files and jobs.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercih.environments import picture

MISSING = 'clips of control need Gymnasium; pip install "tercih[control]"'
Array = NDArray[Any]


class ControlError(ValueError):
    """An environment that cannot be made, acted in or rendered; the message is one sentence."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Step:
    """What one action led to, from where."""

    observation: Array
    action: Any
    following: Array
    reward: float
    terminated: bool
    truncated: bool


class World:
    """One environment: `reset`, `step`, `frame`, `close`, with every failure of its own a ControlError.

    `rate` is how many steps it makes in a second of its own time. Usable as a context manager.
    """

    def __init__(self, environment: str, options: Mapping[str, Any] | None = None, *, render: bool = False) -> None:
        try:
            import gymnasium
        except ModuleNotFoundError:
            raise ControlError(MISSING) from None
        if ":" in environment:
            raise ControlError(f"an environment is named by its id alone, without a module, got {environment!r}")
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame looks for a screen that nobody needs
        self.id = environment
        options = dict(options or {}) | ({"render_mode": "rgb_array"} if render else {})
        with _told("the environment {!r} cannot be made here", environment):
            if environment.startswith("ALE/"):
                from tercih.environments import atari

                self.env = atari.make(environment, options)
            else:
                if environment.startswith("Tercih/"):
                    from tercih.environments import own as ours

                    ours.register()
                if str(gymnasium.spec(environment).entry_point).startswith("gymnasium.envs.mujoco."):
                    _no_log_of_mujoco()
                self.env = gymnasium.make(environment, **options)
        spaces = gymnasium.spaces
        if not isinstance(
            self.env.observation_space, spaces.Box | spaces.Discrete | spaces.MultiBinary | spaces.MultiDiscrete
        ):
            self.close()
            raise ControlError(
                f"observations of {environment} are a {type(self.env.observation_space).__name__}; only those that are"
                " one array can be kept"
            )
        self.rate = float(self.env.metadata.get("render_fps") or 30)
        self.observation: Array = np.zeros(0)
        self.shape = self.env.observation_space.shape
        self.drawn = picture.way(self.env) if render else None
        if self.drawn not in (None, "own"):
            picture.follow(self.env)

    def __enter__(self) -> "World":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self.env.close()

    def reset(self, seed: int) -> Array:
        with _told("{} cannot be reset", self.id):
            observation, _ = self.env.reset(seed=int(seed))
        return self._see(observation)

    def step(self, action: Any) -> Step:
        before = self.observation
        with _told("{} cannot act on {!r}", self.id, action):
            if not self.env.action_space.contains(action):
                raise ControlError(f"{action!r} is no action of {self.id}")
        reward, terminated, truncated = self.act(action)
        return Step(
            observation=before, action=action, following=self.observation, reward=reward,
            terminated=terminated, truncated=truncated,
        )  # fmt: skip

    def act(self, action: Any) -> tuple[float, bool, bool]:
        """(reward, terminated, truncated) of an action that is known to be the environment's; see `observation`."""
        with _told("{} cannot act on {!r}", self.id, action):
            observation, reward, terminated, truncated, _ = self.env.step(action)
        self._see(observation)
        return float(reward), bool(terminated), bool(truncated)

    def _see(self, observation: Any) -> Array:
        self.observation = np.array(observation)
        if self.observation.shape != self.shape:
            raise ControlError(
                f"{self.id} gave an observation of shape {self.observation.shape}, but says that they are"
                f" {self.env.observation_space}; mend the environment"
            )
        return self.observation

    @property
    def versions(self) -> dict[str, str]:
        """Of what simulates: {package: version}, and the environment's full id."""
        home = type(self.env.unwrapped).__module__
        packages = ["gymnasium"] + ["mujoco"] * (".mujoco." in home) + ["ale-py"] * home.startswith("ale_py.")
        return {"environment": str(self.env.spec.id)} | {name: version(name) for name in packages}

    def frame(self) -> NDArray[np.uint8]:
        """What it looks like now: (height, width, 3)."""
        with _told("{} cannot be rendered here (simulators without a screen may need MUJOCO_GL=egl)", self.id):
            frame: Any = picture.schematic(self.env) if self.drawn == "schematic" else self.env.render()
        if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ControlError(f"{self.id} gave no frame to show")
        return frame


def replay(world: World, actions: Sequence[Any] | Array, starts: Array, seeds: Array) -> Iterator[Step]:
    """Act these actions again, with a reset before each of `starts`; a ControlError where an episode ends early, or
    where nobody knows the seeds."""
    if len(seeds) < len(starts):
        raise ControlError(f"these steps of {world.id} tell no seeds, so they cannot be acted again; record them anew")
    resets = dict(zip(starts.tolist(), seeds.tolist(), strict=True))
    over = False
    for at, action in enumerate(actions):
        if at in resets:
            world.reset(resets[at])
        elif over:
            raise ControlError(f"the environment is not the same one: an episode of {world.id} ends before step {at}")
        step = world.step(own(world, action))
        over = step.terminated or step.truncated
        yield step


def own(world: World, action: Any) -> Any:
    """An action as the environment takes it: of its own type, which a file may have widened."""
    space: Any = world.env.action_space
    return space.dtype.type(action) if space.shape == () else np.asarray(action, dtype=space.dtype)


def _no_log_of_mujoco() -> None:
    """MuJoCo would write its warnings into MUJOCO_LOG.TXT where the program runs; what breaks is found by `Worlds`."""
    import mujoco

    mujoco.set_mju_user_warning(logging.getLogger(__name__).info)


class _told:
    """What foreign code raises becomes a ControlError that begins with `what`, filled in with `about` only then."""

    def __init__(self, what: str, *about: Any) -> None:
        self.what, self.about = what, about

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, ControlError):
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ControlError(f"{self.what.format(*self.about)}: {first}") from error
