"""Advantage-weighted regression: imitate what turned out better than expected (Peng et al. 2019, arXiv:1910.00177; for
language models Korbak et al. 2023, arXiv:2302.08582)."""

from dataclasses import dataclass
from math import log

from torch import Tensor, nn

from tercih.batches import Scored
from tercih.card import Card
from tercih.forward import Loss, Term, Want
from tercih.method import Method, check
from tercih.ops import mean_of, total

CARD = Card(
    does="imitates what turned out better than expected",
    paper="Peng et al. 2019; Korbak et al. 2023",
    link="arXiv:1910.00177",
    family="select, weight, condition",
    when="Like RWR, for scored text, where scores differ much between prompts: what is expected of a prompt is learned"
    " and counts for nothing. It costs a value head, and a bound on weights that biases what it finds.",
)


def awr_weight(score: Tensor, value: Tensor, beta: float, cap: float) -> Tensor:
    """min(e^{(R − V)/β}, cap); the exponent is bounded before it could overflow."""
    return ((score - value) / beta).clamp(max=log(cap)).exp()


@dataclass(frozen=True, kw_only=True, slots=True)
class AWR(Method):
    """α · CE · min(e^{(R−V)/β}, cap) + (1 − α) · (R − V)², both in the mean over tokens; defaults are Korbak et al.'s.

    V of a token is what the score is expected to be before it is written, and so weights differ from token to token.
    It takes part in the weights without gradient. Where weights are not capped V only divides the loss of a prefix by a
    number: a policy that can be anything ends where RWR does.
    """

    learns_from = "scored"
    needs_values = True

    alpha: float = 0.5
    beta: float = 10.0
    cap: float = 1000.0

    def __post_init__(self) -> None:
        check(self, "awr", above_0=("beta", "cap"))
        if not 0 < self.alpha < 1:
            raise ValueError(
                f"awr.alpha must be in (0, 1), got {self.alpha}: with 1 nothing teaches the values that weights are"
                " made of; take rwr, which needs none"
            )

    def loss(self, policy: nn.Module, batch: Scored) -> Loss:
        mask_BT, score_B1 = batch.tokens.loss_mask_BT, batch.score_B[:, None]
        outputs = policy(batch.tokens, Want(value=True))
        weight_BT = awr_weight(score_B1, outputs.value_BT.detach(), self.beta, self.cap)
        miss_BT = (score_B1 - outputs.value_BT) ** 2
        counts_B1 = batch.weight_B[:, None]
        return Loss(
            terms={
                "nll": Term(-total(counts_B1 * weight_BT * outputs.logp_BT, mask_BT), per="tokens", weight=self.alpha),
                "value": Term(total(counts_B1 * miss_BT, mask_BT), per="tokens", weight=1 - self.alpha),
            },
            metrics={
                "nats_per_token": mean_of(-outputs.logp_BT, mask_BT),
                "value_loss": mean_of(miss_BT, mask_BT),
                "weight": mean_of(weight_BT, mask_BT),
                "capped": mean_of((weight_BT >= self.cap).float(), mask_BT),
            },
        )
