"""Behavioural cloning: maximum likelihood of the demonstrated actions (Pomerleau 1991)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tercih.agents.experience import Acts
from tercih.card import Card
from tercih.forward import Loss, Models, Term
from tercih.method import Method, State, check
from tercih.models.control import ActorCritic

CARD = Card(
    does="does what was shown",
    paper="Pomerleau 1991",
    link="",
    family="imitation",
    when=(
        "The start of everything in control. Enough where demonstrations cover where the agent will "
        "go; where they do not, dagger with an expert or gail without."
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Always:
    """The same demonstrations at every step: each is a walk through them, or `BC.epochs` of them."""

    acts: Acts
    steps: int

    def __call__(self, step: int) -> Acts:
        return self.acts

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert not state


@dataclass(frozen=True, kw_only=True, slots=True)
class BC(Method):
    """`epochs` walks through the demonstrations of a step, in minibatches; the last of a walk may be smaller.

    `entropy_coef` keeps a policy from being surer than few demonstrations allow.
    """

    epochs: int = 1
    minibatch: int = 64
    entropy_coef: float = 0.0

    def __post_init__(self) -> None:
        check(self, "bc", at_least_0=("entropy_coef",), above_0=("epochs", "minibatch"))

    def init(self, models: Models) -> State:
        return {"items": 0}

    def batches(self, data: Acts, models: Models, state: State) -> Iterator[Acts]:
        policy = models.policy
        if not isinstance(policy, ActorCritic):
            raise ValueError("bc trains a tercih.models.control.ActorCritic, in one process")
        policy.observe(data.observation_B)
        dice = torch.Generator().manual_seed(state["items"])
        for _ in range(self.epochs):
            order_B = torch.randperm(data.rows, generator=dice).to(data.action_B.device)
            yield from data.take(order_B).split(self.minibatch)

    def loss(self, policy: nn.Module, batch: Acts) -> Loss:
        judged = policy(batch.observation_B, batch.action_B)
        terms = {"nll": Term(-judged.logp_B.sum(), per="rows")}
        if self.entropy_coef:
            terms["entropy"] = Term(judged.entropy_B.sum(), per="rows", weight=-self.entropy_coef)
        rows = torch.tensor(float(batch.rows))
        metrics = {
            "logp": (judged.logp_B.sum().detach(), rows),
            "entropy": (judged.entropy_B.sum().detach(), rows),
        }
        return Loss(terms=terms, metrics=metrics)

    def after(self, state: State, data: object, metrics: object) -> State:
        return {"items": state["items"] + 1}
