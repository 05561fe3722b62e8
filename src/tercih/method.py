"""What a method is: the seam between a paper and the training loop.

A method is a frozen dataclass whose fields are its whole configuration. It answers four questions, and the loop in
`tercih.train` asks them without ever knowing which method it holds.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from torch import nn

from tercih.batches import Batch, Loss, Models

State = Mapping[str, Any]
"""What lives between steps (a KL coefficient, running moments): numbers and tensors, saved with every checkpoint."""


class Method:
    """Subclass it with a frozen dataclass; most methods only need `loss`.

    What stands above the methods says what `tercih train` has to bring: which model is trained, on which kind of data,
    and whether a frozen reference, values, or several responses to every prompt (groups) are needed.
    """

    __slots__ = ()
    trains: ClassVar[Literal["policy", "reward_model"]] = "policy"
    learns_from: ClassVar[Literal["demonstrations", "pairs", "rankings", "rollouts"]] = "demonstrations"
    needs_values: ClassVar[bool] = False
    needs_groups: ClassVar[bool] = False

    @property
    def needs_reference(self) -> bool:
        """A property, since it may hang on a coefficient: what nobody asks takes no memory."""
        return False

    def init(self, models: Models) -> State:
        """The state before the first step."""
        return {}

    def batches(self, data: Any, models: Models, state: State) -> Iterator[Batch | Sequence[Batch]]:
        """The optimiser steps to take on one item of data, without gradient: reference log-probabilities, advantages,
        epochs. Several batches at once make one step together, their losses added."""
        yield data

    def loss(self, policy: nn.Module, batch: Any) -> Loss:
        """The loss of a batch, or of any part of one that `Batch.split` cuts."""
        raise NotImplementedError

    def after(self, state: State, data: Any, metrics: Mapping[str, float]) -> State:
        """The state after all steps on an item of data, from their mean metrics."""
        return state
