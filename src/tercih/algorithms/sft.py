"""Supervised fine-tuning: imitate the demonstrations (maximum likelihood)."""

from dataclasses import dataclass

from torch import nn

from tercih.batches import Batch
from tercih.card import Card
from tercih.forward import Loss, Term
from tercih.method import Method
from tercih.ops import mean_of, total

CARD = Card(
    does="imitates demonstrations",
    paper="older than its papers; for instructions Ouyang et al. 2022",
    link="arXiv:2203.02155",
    family="imitation",
    when=(
        "First of all: a base model that only continues text learns from demonstrations to answer. "
        "Every other method on answers starts from its result."
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SFT(Method):
    """Loss on the response's tokens alone; in conversations on the assistant's turns alone (`Tokens.loss_mask_BT`)."""

    def loss(self, policy: nn.Module, batch: Batch) -> Loss:
        mask_BT = batch.tokens.loss_mask_BT
        logp_BT = policy(batch.tokens).logp_BT
        return Loss(
            terms={"nll": Term(-total(logp_BT, mask_BT), per="tokens")},
            metrics={"nats_per_token": mean_of(-logp_BT, mask_BT)},
        )
