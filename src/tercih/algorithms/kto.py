"""KTO: learning from thumbs up and down, as Kahneman and Tversky's people weigh gains and losses (Ethayarajh et al.
2024, arXiv:2402.01306)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tercih.batches import Thumbs
from tercih.card import Card
from tercih.families import log_ratio, with_reference
from tercih.forward import Loss, Models, Term
from tercih.method import Method, State, check
from tercih.ops import mean_of, row_sum
from tercih.tokens import Tokens

CARD = Card(
    does="learns from thumbs up and down on single answers",
    paper="Ethayarajh et al. 2024",
    link="arXiv:2402.01306",
    family="direct preference losses",
    when="People said good or bad of single answers and nobody compared two. Where you have comparisons, DPO uses what"
    " they say and has a known optimum; KTO has none.",
)


def kto_loss(
    ratio_B: Tensor, zero_B: Tensor, good_B: Tensor, beta: float, desirable: float, undesirable: float
) -> Tensor:
    """λ_y − v(x, y), eq. 8: value saturates the further log(π/π0) is above the zero point for a good answer, below it
    for a bad one. Shape (B,)."""
    gain_B = torch.sigmoid(beta * (ratio_B - zero_B))
    return good_B * desirable * (1 - gain_B) + (1 - good_B) * undesirable * gain_B


def mismatched(tokens: Tokens) -> Tokens:
    """Every prompt with the response to the row before it."""
    return replace(
        tokens,
        response_ids_BT=tokens.response_ids_BT.roll(1, 0),
        response_len_B=tokens.response_len_B.roll(1, 0),
        loss_mask_BT=tokens.loss_mask_BT.roll(1, 0),
        correction_BT=None,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class KTO(Method):
    """The zero point is an estimate of KL(π‖π0) from responses to other prompts of the step, not below 0 and without
    gradient (§4.1): it is biased, and needs several prompts a step (0 where there is one row). Defaults are the
    paper's; where one sort of thumb is rare, its weight should make λ_D n_D / (λ_U n_U) lie in [1, 3/2]."""

    learns_from = "thumbs"
    needs_reference = True

    beta: float = 0.1
    desirable: float = 1.0
    undesirable: float = 1.0

    def __post_init__(self) -> None:
        check(self, "kto", above_0=("beta", "desirable", "undesirable"))

    @torch.no_grad()
    def batches(self, data: Thumbs, models: Models, _state: State) -> Iterator[Thumbs]:
        zero = data.good_B.new_zeros(())
        if data.rows > 1:
            elsewhere = mismatched(data.tokens)
            moved_BT = models.policy(elsewhere).logp_BT - models.reference_logp(elsewhere)
            zero = row_sum(moved_BT, elsewhere.loss_mask_BT).mean().clamp(min=0)
        yield replace(with_reference(data, models), zero_B=zero.expand(data.rows))

    def loss(self, policy: nn.Module, batch: Thumbs) -> Loss:
        assert batch.zero_B is not None
        ratio_B = log_ratio(policy(batch.tokens).logp_BT, batch)
        loss_B = kto_loss(ratio_B, batch.zero_B, batch.good_B, self.beta, self.desirable, self.undesirable)
        good_B = batch.good_B > 0.5
        return Loss(
            terms={"value": Term((batch.weight_B * loss_B).sum(), per="thumbs")},
            metrics={
                "good_log_ratio": mean_of(ratio_B, good_B),
                "bad_log_ratio": mean_of(ratio_B, ~good_B),
                "zero_point": mean_of(batch.zero_B),
            },
        )
