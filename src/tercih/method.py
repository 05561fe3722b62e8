"""What a method is: the seam between a paper and the training loop.

A method is a frozen dataclass whose fields are its whole configuration. It answers four questions, and the loop in
`tercih.train` asks them without ever knowing which method it holds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from tercih.batches import AnyBatch, Batch, Compared, Loss, Models, Rollout

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

    def batches(self, data: Any, models: Models, state: State) -> Iterator[AnyBatch | Sequence[AnyBatch]]:
        """The optimiser steps to take on one item of data, without gradient: reference log-probabilities, advantages,
        epochs. Several batches at once make one step together, their losses added."""
        yield data

    def loss(self, policy: nn.Module, batch: Any) -> Loss:
        """The loss of a batch, or of any part of one that its `split` cuts."""
        raise NotImplementedError

    def after(self, state: State, data: Any, metrics: Mapping[str, float]) -> State:
        """The state after all steps on an item of data, from their mean metrics."""
        return state


def check(method: Method, name: str, *, at_least_0: Sequence[str] = (), above_0: Sequence[str] = ()) -> None:
    """ValueError where a field of the method called `name` is out of its range, or NaN."""
    for field in at_least_0:
        if not getattr(method, field) >= 0:
            raise ValueError(f"{name}.{field} must be >= 0, got {getattr(method, field)}")
    for field in above_0:
        if not getattr(method, field) > 0:
            raise ValueError(f"{name}.{field} must be > 0, got {getattr(method, field)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupMethod(Method):
    """What GRPO and those that change a line of it share: `advantage` compares the responses to a prompt, before the
    first of the updates. With `kl_coef` the reference is asked, too; the loss says what is made of it.
    """

    learns_from = "rollouts"
    needs_groups = True

    kl_coef: float = 0.0
    epochs: int = 1
    minibatches: int = 1

    @property
    def needs_reference(self) -> bool:
        return self.kl_coef > 0

    def advantage(self, reward_B: Tensor, prompt_of_B: Tensor) -> Tensor:
        """Shape (B,)."""
        raise NotImplementedError

    @torch.no_grad()
    def batches(self, data: Rollout, models: Models, _state: State) -> Iterator[Batch]:
        batch = Compared(
            tokens=data.tokens,
            old_logp_BT=data.logp_BT,
            advantage_B=self.advantage(data.reward_B, data.tokens.prompt_of_B),
            reference_logp_BT=models.reference_logp(data.tokens) if self.kl_coef else None,
        )
        yield from batch.updates(self.epochs, self.minibatches, seed=data.version)
