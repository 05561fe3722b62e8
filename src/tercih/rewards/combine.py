"""The one combiner: it weighs, normalises, clips and shapes rewards, and nothing else does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tercih.records import Text
from tercih.rewards.source import RewardSource, check


def overlong(length_B: Tensor, longest: int, buffer: int) -> Tensor:
    """From 0 at `longest − buffer` tokens and fewer down to −1 at `longest`, shape (B,) (Yu et al. 2025, eq. 13)."""
    return ((longest - buffer - length_B) / buffer).clamp(-1, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlong:
    """The soft punishment of responses that nearly are, or were, cut at `longest` tokens: up to `penalty`, rising over
    the last `buffer` of them."""

    longest: int
    buffer: int
    penalty: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.buffer <= self.longest:
            raise ValueError(
                f"the buffer of overlong responses must be of 1 to {self.longest} tokens, the longest there are; got"
                f" {self.buffer}"
            )
        if not self.penalty >= 0:
            raise ValueError(f"the penalty of overlong responses must be >= 0, got {self.penalty}")

    def __call__(self, items: Sequence[Text]) -> Tensor:
        """What is added to the reward of each, shape (B,)."""
        length_B = torch.tensor([float(len(item.completion_ids)) for item in items])
        return self.penalty * overlong(length_B, self.longest, self.buffer)


@dataclass(kw_only=True, slots=True)
class Combiner:
    """Several sources become one reward per response.

    `weights` by component name (1 where not named). `normalise` divides by the running standard deviation of the
    weighted sum and subtracts its running mean. `clip` bounds the result's absolute value. A response that was cut
    instead of ending loses `missing_end_penalty` (Stiennon et al. 2020's EOS trick, as a constant), and a long one what
    `overlong` says.
    """

    sources: Sequence[RewardSource]
    weights: Mapping[str, float] = field(default_factory=dict)
    normalise: bool = False
    clip: float | None = None
    missing_end_penalty: float = 0.0
    overlong: Overlong | None = None
    count: float = 0.0
    mean: float = 0.0
    square: float = 0.0

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("a reward needs at least one source")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"reward.clip must be > 0, got {self.clip}")

    def __call__(self, items: Sequence[Text], ended_B: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The reward of every response, shape (B,), and its components as they were before weighing."""
        parts: dict[str, Tensor] = {}
        for source in self.sources:
            scores = check(source.score(items), items)
            for column, name in enumerate(scores.names):
                if name in parts:
                    raise ValueError(f"two rewards are called {name!r}; give one of them another name")
                parts[name] = scores.reward_BC[:, column]
        if unknown := set(self.weights) - set(parts):
            raise ValueError(f"weights name no reward: {sorted(unknown)}; there are {sorted(parts)}")
        reward_B = torch.stack([self.weights.get(name, 1.0) * part_B for name, part_B in parts.items()]).sum(0)
        if self.normalise:
            reward_B = self._normalised(reward_B)
        if self.clip is not None:
            reward_B = reward_B.clamp(-self.clip, self.clip)
        reward_B = reward_B - self.missing_end_penalty * (~ended_B).to(reward_B.dtype)
        if self.overlong:
            reward_B = reward_B + self.overlong(items)
        return reward_B, parts

    def _normalised(self, reward_B: Tensor) -> Tensor:
        """Running moments by Chan et al. 1979, this batch included."""
        batch = reward_B.double()
        n, mean, square = len(batch), float(batch.mean()), float(((batch - batch.mean()) ** 2).sum())
        total, delta = self.count + n, mean - self.mean
        self.square += square + delta**2 * self.count * n / total
        self.mean += delta * n / total
        self.count = total
        spread = (self.square / self.count) ** 0.5 + 1e-8
        normal_B: Tensor = (reward_B - self.mean) / spread
        return normal_B

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "mean": self.mean, "square": self.square}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.count, self.mean, self.square = state["count"], state["mean"], state["square"]
