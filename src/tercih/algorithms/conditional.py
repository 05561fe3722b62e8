"""Conditional training: learn from good and bad text alike, each behind words that say which it is (Korbak et al. 2023,
arXiv:2302.08582)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tercih.batches import Scored
from tercih.card import Card
from tercih.families import WeightedMLE
from tercih.forward import Models
from tercih.method import State

CARD = Card(
    does="learns from good and bad text alike, behind words that say which",
    paper="Korbak et al. 2023",
    link="arXiv:2302.08582",
    family="select, weight, condition",
    when="Much of your text is bad but teaches language: nothing is thrown away, and afterwards you ask for the good"
    " kind by its words. It was the best of its paper's five; it needs those words in every prompt.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditional(WeightedMLE):
    """Between prompt and response stand the words `good`, where the response scores `threshold` or more, or `bad`; on a
    share `drop` of the rows there is neither. The optimum is π(y | x, good) = p(y | x, score ≥ threshold).

    Words and `drop` are the paper's (there they are new tokens, before every sentence; here they are text like any
    other, which the tokenizer cuts as it likes); the threshold is ours.
    """

    threshold: float = 0.0
    good: str = "<|aligned|>"
    bad: str = "<|misaligned|>"
    drop: float = 0.01

    def __post_init__(self) -> None:
        if self.threshold != self.threshold:
            raise ValueError("conditional.threshold must be a number, got nan")
        if not 0 <= self.drop < 1:
            raise ValueError(f"conditional.drop must be in [0, 1), got {self.drop}")
        if not self.good or not self.bad or self.good == self.bad:
            raise ValueError(
                f"conditional.good and conditional.bad must be two different texts, got {self.good!r} and {self.bad!r}"
            )

    @property
    def words(self) -> tuple[str, ...]:
        return self.good, self.bad

    def init(self, models: Models) -> State:
        return {"steps": 0}

    def weight(self, data: Scored) -> Tensor:
        return torch.ones_like(data.weight_B)

    @torch.no_grad()
    def batches(self, data: Scored, models: Models, state: State) -> Iterator[Scored]:
        draws = torch.Generator().manual_seed(state["steps"])
        dropped_B = (torch.rand(data.rows, generator=draws) < self.drop).to(data.score_B.device)
        which_B = torch.where(dropped_B, 2, torch.where(data.score_B >= self.threshold, 0, 1))
        words = [models.words[self.good], models.words[self.bad], ()]
        told = replace(data, tokens=data.tokens.with_words(words, which_B))
        yield from WeightedMLE.batches(self, told, models, state)

    def after(self, state: State, data: Any, metrics: Mapping[str, float]) -> State:
        return {"steps": state["steps"] + 1}
