"""RRHF: rank responses by how likely they are, as people or a reward model rank them (Yuan et al. 2023,
arXiv:2304.05302)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tercih.batches import Rankings
from tercih.card import Card
from tercih.forward import Loss, Term
from tercih.method import Method, check
from tercih.ops import mean_of, row_mean

CARD = Card(
    does="answers as likely as they are good, in order",
    paper="Yuan et al. 2023",
    link="arXiv:2304.05302",
    family="direct preference losses",
    when=(
        "K answers in order and as little machinery as possible: no reference, no values, no reward at training time."
    ),
)


def rank_loss(score_NK: Tensor, real_NK: Tensor) -> Tensor:
    """Σ max(0, p_worse − p_better) over all pairs of places, best first, shape (N,): eq. 2. 0 where the order is right,
    by however little."""
    ahead_NKK = score_NK[:, None, :] - score_NK[:, :, None]  # [k, l]: how far the worse place l leads k
    counts_NKK = (real_NK[:, :, None] & real_NK[:, None, :]).triu(1)
    return torch.where(counts_NKK, ahead_NKK.relu(), 0.0).sum((1, 2))


@dataclass(frozen=True, kw_only=True, slots=True)
class RRHF(Method):
    """No reference, no values: the ranking loss and cross-entropy on the best answer (eq. 3 and 4).

    p is the mean log-probability of a response's tokens (eq. 1). The cross-entropy is a mean over the best answer's own
    tokens, too, so that both are of one size whatever the length: the paper has their sum, and its code divides by the
    length of the longest response of the batch, so that padding changes the loss. `rank_coef` is that of the released
    script; the class in the code has 100.
    """

    learns_from = "rankings"

    rank_coef: float = 1.0

    def __post_init__(self) -> None:
        check(self, "rrhf", at_least_0=("rank_coef",))

    def loss(self, policy: nn.Module, batch: Rankings) -> Loss:
        score_B = row_mean(policy(batch.tokens).logp_BT, batch.tokens.loss_mask_BT)
        score_NK, real_NK = batch.ordered(score_B), batch.real_NK
        loss_N = rank_loss(score_NK, real_NK)
        return Loss(
            terms={
                "ranking": Term(loss_N.sum(), per="rankings", weight=self.rank_coef),
                "nll": Term(-score_NK[:, 0].sum(), per="rankings"),
            },
            metrics={"in_order": mean_of((loss_N == 0).float())},
        )
