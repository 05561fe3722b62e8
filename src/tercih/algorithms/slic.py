"""SLiC-HF: calibrate how likely sequences are by what people prefer (Zhao et al. 2023, arXiv:2305.10425)."""

from dataclasses import dataclass

from torch import Tensor

from tercih.batches import Pairs
from tercih.card import Card
from tercih.families import PairMethod
from tercih.forward import Term
from tercih.method import check
from tercih.ops import of_better, row_sum

CARD = Card(
    does="a lead for the better answer, and no more than that",
    paper="Zhao et al. 2023",
    link="arXiv:2305.10425",
    family="direct preference losses",
    when="Pairs, where a lead of the chosen answer is enough and more is not wanted.",
)


def hinge_loss(difference_N: Tensor, chance_N: Tensor, delta: float) -> Tensor:
    """max(0, δ − log π(better) + log π(worse)), eq. 4 †: nothing is left to learn once the better one leads by δ."""
    return chance_N * (delta - difference_N).relu() + (1 - chance_N) * (delta + difference_N).relu()


@dataclass(frozen=True, kw_only=True, slots=True)
class SLiC(PairMethod):
    """The hinge on whole log-probabilities, and cross-entropy that keeps the model near what it was fine-tuned to (eq.
    4 †). The paper takes the fine-tuning targets for the latter; pairs have none, so it is the better answer here (its
    "direct" variant, with human pairs as they are). δ is the paper's, λ is from memory †."""

    delta: float = 1.0
    lam: float = 0.5

    def __post_init__(self) -> None:
        check(self, "slic", above_0=("delta",), at_least_0=("lam",))

    def worth(self, logp_BT: Tensor, batch: Pairs) -> Tensor:
        return row_sum(logp_BT, batch.tokens.loss_mask_BT)

    def compared(self, difference_N: Tensor, chance_N: Tensor) -> Tensor:
        return hinge_loss(difference_N, chance_N, self.delta)

    def beside(self, logp_BT: Tensor, batch: Pairs) -> dict[str, Term]:
        nll_N = of_better(-row_sum(logp_BT, batch.tokens.loss_mask_BT), batch)
        return {"nll": Term((batch.weight_N * nll_N).sum(), per="comparisons", weight=self.lam)}
