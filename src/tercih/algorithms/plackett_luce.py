"""K-wise reward model (Plackett 1975; Luce 1959; Zhu et al. 2023, arXiv:2301.11270, eq. 3)."""

from dataclasses import dataclass

import torch
from torch import nn

from tercih.batches import Rankings
from tercih.card import Card
from tercih.forward import Loss, Term
from tercih.method import Method
from tercih.ops import mean_of, plackett_luce_loss

CARD = Card(
    does="scores that explain orders of K answers",
    paper="Plackett 1975; Zhu et al. 2023",
    link="arXiv:2301.11270",
    family="reward models",
    when=(
        "Raters put K answers in order. An order says more than its first place, and more than its pairs of neighbours."
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlackettLuce(Method):
    """All K answers of one prompt in one forward; `places` says how many places of the order count (0: all)."""

    trains = "reward_model"
    learns_from = "rankings"

    places: int = 0

    def __post_init__(self) -> None:
        if self.places < 0:
            raise ValueError(f"plackett_luce.places must be >= 0 (0 means all), got {self.places}")

    def loss(self, scorer: nn.Module, batch: Rankings) -> Loss:
        score_B = scorer(batch.tokens)
        real_NK, score_NK = batch.real_NK, batch.ordered(score_B)
        loss_N = plackett_luce_loss(score_NK, real_NK, self.places or score_NK.shape[1])
        best_N = torch.where(real_NK, score_NK, -torch.inf).argmax(1) == 0
        return Loss(
            terms={"ranking": Term(loss_N.sum(), per="rankings")},
            metrics={"top_accuracy": mean_of(best_N.float()), "score": mean_of(score_B)},
        )
