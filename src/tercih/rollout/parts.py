"""Sampling that is shared out between processes, and put together again as one process would have it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from tercih.distributed.team import Team
from tercih.records import Text
from tercih.rewards.source import RewardSource, Scores
from tercih.rollout.engine import Generated, RolloutEngine, StaleError
from tercih.rollout.sampling import Sampling
from tercih.rollout.slots import Stats


@dataclass(frozen=True, slots=True)
class TeamEngine:
    """Every process of a team samples for its share of the prompts; all have all responses."""

    team: Team
    engine: RolloutEngine
    device: torch.device

    @property
    def exact(self) -> bool:
        return self.engine.exact

    def close(self) -> None:
        self.engine.close()

    def sync(self, version: int) -> None:
        self.engine.sync(version)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        samples: int = 1,
        seed: int,
        keys: Sequence[int] | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Generated:
        mine = self.team.mine(len(prompts))
        keys = range(len(prompts)) if keys is None else keys
        found = None
        if mine:
            found = self.engine.generate(
                [prompts[i] for i in mine],
                sampling,
                samples=samples,
                seed=seed,
                keys=[keys[i] for i in mine],
                on_progress=on_progress,
            )
            found = moved(found, "cpu")
        parts = [part for part in self.team.gather(found) if part is not None]
        return moved(concatenated(parts), self.device)


@dataclass(frozen=True, slots=True)
class LedEngine:
    """The leader of a team asks an engine of other processes for all; the others have none."""

    team: Team
    engine: RolloutEngine | None
    device: torch.device
    exact: bool

    def close(self) -> None:
        if self.engine is not None:
            self.engine.close()

    def sync(self, version: int) -> None:
        if self.engine is not None:
            self.engine.sync(version)

    def generate(self, *arguments: Any, **options: Any) -> Generated:
        found = None if self.engine is None else moved(self.engine.generate(*arguments, **options), "cpu")
        told = self.team.tell(found)
        assert told is not None
        return moved(told, self.device)


@dataclass(frozen=True, slots=True)
class TeamReward:
    """Every process of a team scores its share of the items; all have all scores, and each item is scored once."""

    team: Team
    source: RewardSource

    def score(self, items: Sequence[Text]) -> Scores:
        mine = self.team.mine(len(items))
        found = self.source.score([items[i] for i in mine]) if mine else None
        parts = [part for part in self.team.gather(found) if part is not None]
        return Scores(names=parts[0].names, reward_BC=torch.cat([part.reward_BC for part in parts]))


def concatenated(parts: Sequence[Generated]) -> Generated:
    """The responses to the prompts of all parts, one after the other; StaleError where other weights made some."""
    versions = sorted({part.version for part in parts})
    if len(versions) > 1:
        raise StaleError(f"parts of one rollout were sampled by the weights of steps {', '.join(map(str, versions))}")
    T = max(part.response_ids_BT.shape[1] for part in parts)
    prompts = [int(part.prompt_of_B.max()) + 1 for part in parts]
    starts = [sum(prompts[:i]) for i in range(len(parts))]

    def wide(name: str) -> Tensor:
        each: list[Tensor] = [getattr(part, name) for part in parts]
        return torch.cat([pad(x, (0, T - x.shape[1])) if x.ndim == 2 else x for x in each])

    stats = [part.stats for part in parts]
    tokens, steps = sum(s.tokens for s in stats), sum(s.steps for s in stats)
    named = [f.name for f in fields(Generated) if f.name.endswith(("_B", "_BT")) and f.name != "prompt_of_B"]
    tensors: dict[str, Any] = {name: wide(name) for name in named}
    return replace(
        parts[0],
        **tensors,
        prompt_of_B=torch.cat([part.prompt_of_B + start for part, start in zip(parts, starts, strict=True)]),
        stats=Stats(tokens=tokens, steps=steps, prefills=sum(s.prefills for s in stats), mean_rows=tokens / steps),
    )


def moved(generated: Generated, device: torch.device | str) -> Generated:
    held = {f.name: getattr(generated, f.name) for f in fields(Generated)}
    tensors: dict[str, Any] = {name: x.to(device) for name, x in held.items() if isinstance(x, Tensor)}
    return replace(generated, **tensors)
