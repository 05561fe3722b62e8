"""Records from disk as training data: batch `step` is a pure function of (seed, step), so resuming needs no state."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from tercih.batches import Batch

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True, slots=True)
class Offline(Generic[R]):
    """`records` in batches of `size`, reshuffled every epoch; the last batch of an epoch may be smaller.

    `collate` turns a list of records into a batch.
    """

    records: Sequence[R]
    collate: Callable[[list[R]], Batch]
    size: int
    epochs: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.records:
            raise ValueError("there are no records to train on")
        if self.size < 1 or self.epochs < 1:
            raise ValueError(f"size and epochs must be >= 1, got {self.size} and {self.epochs}")

    @property
    def per_epoch(self) -> int:
        return -(-len(self.records) // self.size)

    @property
    def steps(self) -> int:
        return self.per_epoch * self.epochs

    def __call__(self, step: int) -> Batch:
        epoch, index = divmod(step, self.per_epoch)
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.records))
        chosen = order[index * self.size : (index + 1) * self.size]
        return self.collate([self.records[i] for i in chosen])

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert not state
