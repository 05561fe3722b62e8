"""Direct Preference Optimization (Rafailov et al. 2023, arXiv:2305.18290)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from tercih.batches import Loss, Models, Pairs, Term
from tercih.method import Method, State
from tercih.ops import mean_of, row_sum


def dpo_loss(margin_N: Tensor, target_N3: Tensor, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """Eq. 7; `margin_N` is log[π/π0](first) - log[π/π0](second). log 2 where the policy is the reference.

    Soft targets are cross-entropy to a consensus, a tie counts half for either side. `label_smoothing` is the chance
    that a label is flipped (conservative DPO, Mitchell 2023): it moves every target towards its opposite.
    """
    first_N = target_N3[:, 0] + target_N3[:, 2] / 2
    first_N = (1 - label_smoothing) * first_N + label_smoothing * (1 - first_N)
    return -first_N * logsigmoid(beta * margin_N) - (1 - first_N) * logsigmoid(-beta * margin_N)


@dataclass(frozen=True, kw_only=True, slots=True)
class DPO(Method):
    """The policy is its own reward model: r = beta * log[π/π0]. The default beta is the paper's."""

    learns_from = "pairs"
    needs_reference = True

    beta: float = 0.1
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"dpo.beta must be > 0, got {self.beta}")
        if not 0 <= self.label_smoothing < 0.5:
            raise ValueError(f"dpo.label_smoothing must be in [0, 0.5), got {self.label_smoothing}")

    @torch.no_grad()
    def batches(self, data: Pairs, models: Models, _state: State) -> Iterator[Pairs]:
        tokens = data.tokens
        yield replace(data, reference_logp_B=row_sum(models.reference_logp(tokens), tokens.loss_mask_BT))

    def loss(self, policy: nn.Module, batch: Pairs) -> Loss:
        tokens = batch.tokens
        assert batch.reference_logp_B is not None
        ratio_B = row_sum(policy(tokens).logp_BT, tokens.loss_mask_BT) - batch.reference_logp_B
        first_N, second_N = ratio_B[batch.first_row_N], ratio_B[batch.second_row_N]
        margin_N = first_N - second_N
        loss_N = dpo_loss(margin_N, batch.target_N3, self.beta, self.label_smoothing)
        sign_N = (batch.target_N3[:, 0] - batch.target_N3[:, 1]).sign()
        chosen_N = torch.where(sign_N >= 0, first_N, second_N)
        rejected_N = torch.where(sign_N >= 0, second_N, first_N)
        return Loss(
            terms={"dpo": Term((batch.weight_N * loss_N).sum(), per="comparisons")},
            metrics={
                "accuracy": mean_of((margin_N * sign_N > 0).float(), sign_N != 0),
                "margin": mean_of(self.beta * margin_N * sign_N),
                # Both may fall while the margin grows; only their difference is trained.
                "chosen_log_ratio": mean_of(chosen_N),
                "rejected_log_ratio": mean_of(rejected_N),
            },
        )
