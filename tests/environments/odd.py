"""Environments that no library brings: each has one fault, or is known to nobody but its maker."""

from typing import Any

import gymnasium
import numpy as np


class Counter(gymnasium.Env[Any, Any]):
    """Observes how many steps there were, beside a number drawn at every step; ends after five."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    fault = ""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self.seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return self.seen(), float(action[0]), self.steps == 5, False, {}

    def seen(self) -> Any:
        return np.array([self.steps, self.np_random.random()])


class Forgetful(Counter):
    """Its randomness does not follow its seed."""

    def seen(self) -> Any:
        return np.array([self.steps, np.random.default_rng().random()])


class Broken(Counter):
    def seen(self) -> Any:
        return np.array([np.nan if self.steps == 3 else 0.0, 0.0])


class Misshapen(Counter):
    def seen(self) -> Any:
        return np.zeros(3 if self.steps == 3 else 2)


class Raising(Counter):
    def seen(self) -> Any:
        if self.steps == 3:
            raise RuntimeError("the gears are stuck\nfor ever")
        return np.zeros(2)


def register() -> None:
    for each in (Counter, Forgetful, Broken, Misshapen, Raising):
        if f"{each.__name__}-v0" not in gymnasium.registry:
            gymnasium.register(f"{each.__name__}-v0", each, disable_env_checker=True)
