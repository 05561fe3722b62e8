"""K-wise reward model (Plackett 1975; Luce 1959; Zhu et al. 2023, arXiv:2301.11270, eq. 3)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tercih.batches import Loss, Rankings, Term
from tercih.method import Method
from tercih.ops import mean_of


def plackett_luce_loss(score_NK: Tensor, real_NK: Tensor, places: int) -> Tensor:
    """-log P(order) = -Σ_k log( e^{s_k} / Σ_{l >= k} e^{s_l} ) over the first `places` places, shape (N,).

    `score_NK` is sorted best first. With `places=1` it is the best-of-K softmax of Ziegler et al. 2019, eq. 1.
    """
    score_NK = torch.where(real_NK, score_NK, -1e30)  # finite: infinities have no gradient
    rest_NK = score_NK.flip(1).logcumsumexp(1).flip(1)  # log Σ_{l >= k} e^{s_l}
    last_N1 = real_NK.sum(1, keepdim=True) - 1  # the last place is decided by the others
    place_K = torch.arange(score_NK.shape[1], device=score_NK.device)
    counts_NK = (place_K < last_N1) & (place_K < places)
    return -torch.where(counts_NK, score_NK - rest_NK, 0.0).sum(1)


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
        real_NK = batch.order_row_NK >= 0
        score_NK = score_B[batch.order_row_NK.clamp(min=0)]
        loss_N = plackett_luce_loss(score_NK, real_NK, self.places or score_NK.shape[1])
        best_N = torch.where(real_NK, score_NK, -torch.inf).argmax(1) == 0
        return Loss(
            terms={"ranking": Term(loss_N.sum(), per="rankings")},
            metrics={"top_accuracy": mean_of(best_N.float()), "score": mean_of(score_B)},
        )
