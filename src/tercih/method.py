"""What a method is: the seam between a paper and the training loop.

A method is a frozen dataclass whose fields are its whole configuration. It answers four questions, and the loop in
`tercih.train` asks them without ever knowing which method it holds.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from torch import nn

from tercih.batches import AnyBatch
from tercih.forward import Loss, Models

State = Mapping[str, Any]
"""What lives between steps (a KL coefficient, running moments): numbers and tensors, saved with every checkpoint."""


Source = Literal["demonstrations", "pairs", "rankings", "thumbs", "rules", "scored", "turns", "rollouts"]


class Method:
    """Subclass it with a frozen dataclass; most methods only need `loss`.

    What stands above the methods says what `tercih train` has to bring: which model is trained, on which kind of data,
    and whether a frozen reference, values, several responses to every prompt (groups) or a rival to match are needed.
    """

    __slots__ = ()
    trains: ClassVar[Literal["policy", "reward_model"]] = "policy"
    learns_from: ClassVar[Source] = "demonstrations"
    needs_values: ClassVar[bool] = False
    needs_action_values: ClassVar[bool] = False
    needs_rival: ClassVar[bool] = False  # whose answers its `mixture` of policy and reference gives

    @property
    def needs_reference(self) -> bool:
        """A property, since it may hang on a coefficient: what nobody asks takes no memory."""
        return False

    @property
    def needs_groups(self) -> bool:
        """A property, since it may hang on an option."""
        return False

    @property
    def words(self) -> Sequence[str]:
        """Texts that it puts beside prompts: their tokens are in `Models.words`, data leave room for the longest."""
        return ()

    @property
    def asks_with(self) -> str:
        """Which of its words stand at the end of prompts when the policy is sampled; none where it is empty."""
        return ""

    def init(self, models: Models) -> State:
        """The state before the first step."""
        return {}

    def before(self, models: Models, state: State) -> State:
        """The state before an item of data is drawn, with the policy that is going to be sampled as it is now."""
        return state

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


def called(method: Method) -> str:
    """The name that errors give it: that of its class, in small letters."""
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", type(method).__name__).lower()


def stands_alone(method: Method) -> bool:
    """Whether a policy and what it learns from are enough: no words beside prompts, no values of actions, no rival."""
    return not (method.words or method.needs_action_values or method.needs_rival)


def check(method: Method, name: str, *, at_least_0: Sequence[str] = (), above_0: Sequence[str] = ()) -> None:
    """ValueError where a field of the method called `name` is out of its range, or NaN."""
    for field in at_least_0:
        if not getattr(method, field) >= 0:
            raise ValueError(f"{name}.{field} must be >= 0, got {getattr(method, field)}")
    for field in above_0:
        if not getattr(method, field) > 0:
            raise ValueError(f"{name}.{field} must be > 0, got {getattr(method, field)}")
