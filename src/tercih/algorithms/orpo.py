"""ORPO: fine-tuning on the better answers, with the odds of the worse ones held down (Hong et al. 2024,
arXiv:2403.07691)."""

from dataclasses import dataclass

from torch import Tensor

from tercih.batches import Pairs
from tercih.card import Card
from tercih.families import PairMethod
from tercih.forward import Term
from tercih.method import check
from tercih.ops import log_complement, logistic_loss, of_better, row_mean

CARD = Card(
    does="fine-tuning with the odds of worse answers held down",
    paper="Hong et al. 2024",
    link="arXiv:2403.07691",
    family="direct preference losses",
    when=("One stage instead of two: a base model is fine-tuned on chosen answers while rejected ones are held down."),
)


def log_odds(logp_B: Tensor) -> Tensor:
    """log(p / (1 − p)) of log p (eq. 4); p is the likelihood of a response per token (eq. 3), and below 1."""
    return logp_B - log_complement(logp_B)


@dataclass(frozen=True, kw_only=True, slots=True)
class ORPO(PairMethod):
    """One stage from a base model, without a reference: eq. 6, L = NLL(better) + λ L_OR. The default λ is the paper's
    for its Mistral runs."""

    lam: float = 0.1

    def __post_init__(self) -> None:
        check(self, "orpo", at_least_0=("lam",))

    def worth(self, logp_BT: Tensor, batch: Pairs) -> Tensor:
        return log_odds(row_mean(logp_BT, batch.tokens.loss_mask_BT))

    def compared(self, difference_N: Tensor, chance_N: Tensor) -> Tensor:
        return self.lam * logistic_loss(difference_N, chance_N)  # eq. 7

    def beside(self, logp_BT: Tensor, batch: Pairs) -> dict[str, Term]:
        nll_N = of_better(-row_mean(logp_BT, batch.tokens.loss_mask_BT), batch)
        return {"nll": Term((batch.weight_N * nll_N).sum(), per="comparisons")}
