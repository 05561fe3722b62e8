"""Unlikelihood training: make good text likelier, and the tokens of bad text less likely (Welleck et al. 2019,
arXiv:1908.04319; on scores Korbak et al. 2023, arXiv:2302.08582)."""

from dataclasses import dataclass

from torch import Tensor, nn

from tercih.batches import Scored
from tercih.card import Card
from tercih.forward import Loss, Term
from tercih.method import Method, check
from tercih.ops import log_complement, mean_of, row_sum

CARD = Card(
    does="makes good text likelier and the tokens of bad text less likely",
    paper="Welleck et al. 2019; Korbak et al. 2023",
    link="arXiv:1908.04319",
    family="select, weight, condition",
    when="There are things that should not be said and you can show them. It pushes away every token of a bad response,"
    " also those that were not at fault, so keep alpha low or take conditional training.",
)


def unlikelihood(logp_BT: Tensor) -> Tensor:
    """−log(1 − p) of every token: bounded below, and its gradient dies where the token is unlikely already."""
    return -log_complement(logp_BT)


@dataclass(frozen=True, kw_only=True, slots=True)
class Unlikelihood(Method):
    """−[1_good · log p + α · 1_bad · log(1 − p)] of every token, in the mean over the tokens of the step. A response is
    good where it scores `threshold` or more. α is Welleck et al.'s; the threshold is ours."""

    learns_from = "scored"

    threshold: float = 0.0
    alpha: float = 1.0

    def __post_init__(self) -> None:
        check(self, "unlikelihood", at_least_0=("alpha",))
        if self.threshold != self.threshold:
            raise ValueError("unlikelihood.threshold must be a number, got nan")

    def loss(self, policy: nn.Module, batch: Scored) -> Loss:
        mask_BT = batch.tokens.loss_mask_BT
        logp_BT = policy(batch.tokens).logp_BT
        good_B = batch.score_B >= self.threshold
        likely_B = batch.weight_B * good_B * -row_sum(logp_BT, mask_BT)
        unlikely_B = batch.weight_B * ~good_B * row_sum(unlikelihood(logp_BT), mask_BT)
        return Loss(
            terms={
                "nll": Term(likely_B.sum(), per="tokens"),
                "unlikelihood": Term(unlikely_B.sum(), per="tokens", weight=self.alpha),
            },
            metrics={
                "good_nats_per_token": mean_of(-logp_BT, mask_BT & good_B[:, None]),
                "bad_nats_per_token": mean_of(-logp_BT, mask_BT & ~good_B[:, None]),
            },
        )
