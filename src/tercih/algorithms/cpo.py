"""CPO: contrastive preference optimisation, DPO without a reference and with imitation (Xu et al. 2024,
arXiv:2401.08417)."""

from dataclasses import dataclass

from torch import Tensor

from tercih.batches import Pairs
from tercih.card import Card
from tercih.families import PairMethod
from tercih.forward import Term
from tercih.method import check
from tercih.ops import logistic_loss, of_better, row_sum

CARD = Card(
    does="DPO without a reference, and imitation of the better answer",
    paper="Xu et al. 2024",
    link="arXiv:2401.08417",
    family="direct preference losses",
    when=("Pairs, where memory for a reference is missing and chosen answers are good enough to imitate."),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class CPO(PairMethod):
    """DPO's loss as if the reference were uniform (eq. 3), which halves memory and time, and the log-likelihood of the
    better answers to keep it in place (eq. 5). β is that of the released code; the paper weighs both terms alike
    (`nll_coef` 1)."""

    beta: float = 0.1
    nll_coef: float = 1.0

    def __post_init__(self) -> None:
        check(self, "cpo", above_0=("beta",), at_least_0=("nll_coef",))

    def worth(self, logp_BT: Tensor, batch: Pairs) -> Tensor:
        return self.beta * row_sum(logp_BT, batch.tokens.loss_mask_BT)

    def compared(self, difference_N: Tensor, chance_N: Tensor) -> Tensor:
        return logistic_loss(difference_N, chance_N)

    def beside(self, logp_BT: Tensor, batch: Pairs) -> dict[str, Term]:
        nll_N = of_better(-row_sum(logp_BT, batch.tokens.loss_mask_BT), batch)
        return {"nll": Term((batch.weight_N * nll_N).sum(), per="comparisons", weight=self.nll_coef)}
