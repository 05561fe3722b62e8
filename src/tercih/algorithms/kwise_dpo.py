"""DPO from rankings of K answers (Rafailov et al. 2023, arXiv:2305.18290, appendix A.3, eq. 20)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from tercih.batches import Rankings
from tercih.card import Card
from tercih.divergences import implied_slope
from tercih.families import log_ratio, with_reference
from tercih.forward import Loss, Models, Term
from tercih.method import Method, State, check
from tercih.ops import mean_of, plackett_luce_loss

CARD = Card(
    does="DPO from orders of K answers",
    paper="Rafailov et al. 2023",
    link="arXiv:2305.18290",
    family="direct preference losses",
    when="Raters who put K answers in order, and no reward model wanted.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class KwiseDPO(Method):
    """Plackett and Luce's likelihood of the whole order, of the rewards that the policy implies. With K = 2 it is DPO.
    `places` says how many places of the order count (0: all)."""

    learns_from = "rankings"
    needs_reference = True

    beta: float = 0.1
    divergence: str = "reverse_kl"
    places: int = 0

    def __post_init__(self) -> None:
        check(self, "kwise_dpo", above_0=("beta",), at_least_0=("places",))
        implied_slope(self.divergence, "kwise_dpo.divergence")

    @torch.no_grad()
    def batches(self, data: Rankings, models: Models, _state: State) -> Iterator[Rankings]:
        yield with_reference(data, models)

    def loss(self, policy: nn.Module, batch: Rankings) -> Loss:
        ratio_B = log_ratio(policy(batch.tokens).logp_BT, batch)
        reward_NK, real_NK = batch.ordered(self.beta * implied_slope(self.divergence)(ratio_B)), batch.real_NK
        loss_N = plackett_luce_loss(reward_NK, real_NK, self.places or reward_NK.shape[1])
        best_N = torch.where(real_NK, reward_NK, -torch.inf).argmax(1) == 0
        return Loss(
            terms={"ranking": Term(loss_N.sum(), per="rankings")},
            metrics={"top_accuracy": mean_of(best_N.float()), "best_log_ratio": mean_of(batch.ordered(ratio_B)[:, 0])},
        )
