"""A reward of steps made of named parts: what an environment can measure, what was learned from people, shaping."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tercih.environments.control import Array, ControlError
from tercih.rewards.steps import StepReward


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One component of a reward. `weight` is what one unit of it is worth."""

    reward: StepReward
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Composed:
    """The weighted sum of its parts, itself a `StepReward`. Let a learned part be fitted by `tercih.agents.beyond`, or
    it counts again what the measured ones count already."""

    parts: Mapping[str, Part]

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("a composed reward needs at least one part")
        for name, part in self.parts.items():
            if not np.isfinite(part.weight):
                raise ValueError(f"composed.parts[{name!r}].weight must be finite, got {part.weight}")

    def __call__(self, observation: Array, action: Array, following: Array) -> Array:
        terms = self.terms(observation, action, following)
        total: Array = np.sum([part.weight * terms[name] for name, part in self.parts.items()], axis=0)
        return total

    def terms(self, observation: Array, action: Array, following: Array) -> dict[str, Array]:
        """Every part before its weight, by name; ControlError where their shapes differ."""
        found = {name: np.asarray(part.reward(observation, action, following)) for name, part in self.parts.items()}
        shapes = {name: each.shape for name, each in found.items()}
        if len(set(shapes.values())) > 1:
            raise ControlError(f"the parts of a reward must each give one number for every step, got {shapes}")
        return found
