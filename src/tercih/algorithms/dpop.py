"""DPO-Positive: DPO that may not pay by making the better answer less likely (Pal et al. 2024, arXiv:2402.13228)."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid

from tercih.batches import Pairs
from tercih.card import Card
from tercih.families import PairMethod, log_ratio
from tercih.method import check
from tercih.ops import chance_of_first

CARD = Card(
    does="DPO that may not pay by making the better answer less likely",
    paper="Pal et al. 2024",
    link="arXiv:2402.13228",
    family="direct preference losses",
    when=(
        "Pairs whose two answers differ in little, so that dpo may make both less likely, and whose labels are sure. "
        "Where labels are often wrong, its default λ holds nearly everything at the reference: take "
        "conservative_dpo or robust_dpo."
    ),
)


def dpop_loss(first_N: Tensor, second_N: Tensor, chance_N: Tensor, lam: float) -> Tensor:
    """−log σ( r_w − r_l − λ max(0, −r_w) ), eq. 3 †, where r = β log(π/π0) of the better and of the worse answer: β
    weighs the penalty, too. Log 2 where the policy is the reference."""
    first_better_N = first_N - second_N - lam * (-first_N).relu()
    second_better_N = second_N - first_N - lam * (-second_N).relu()
    return -chance_N * logsigmoid(first_better_N) - (1 - chance_N) * logsigmoid(second_better_N)


@dataclass(frozen=True, kw_only=True, slots=True)
class DPOP(PairMethod):
    """DPO raises only the difference of two log-ratios, and both may fall. Here every nat that the better answer falls
    below the reference costs λ nats of that difference. With λ = 0 it is DPO. Defaults are the paper's †."""

    needs_reference = True

    beta: float = 0.3
    lam: float = 50.0

    def __post_init__(self) -> None:
        check(self, "dpop", above_0=("beta",), at_least_0=("lam",))

    def worth(self, logp_BT: Tensor, batch: Pairs) -> Tensor:
        return self.beta * log_ratio(logp_BT, batch)

    def cost(self, worth_B: Tensor, batch: Pairs) -> Tensor:
        first_N, second_N = worth_B[batch.first_row_N], worth_B[batch.second_row_N]
        return dpop_loss(first_N, second_N, chance_of_first(batch.target_N3), self.lam)
