"""Dr. GRPO: GRPO done right, without its two biases (Liu et al. 2025, arXiv:2503.20783, §3.2 and appendix A).

No division by the group's spread, and one constant in place of every response's length: what is left is an unbiased
policy gradient, (K−1)/K of RLOO's.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from tercih.batches import Compared
from tercih.card import Card
from tercih.families import GroupMethod
from tercih.forward import Loss, Term
from tercih.method import check
from tercih.ops import clipped_surrogate, group_mean, is_clipped, kl3, kl_metric, mean_of, total

CARD = Card(
    does="GRPO without its biases of spread and length",
    paper="Liu et al. 2025",
    link="arXiv:2503.20783",
    family="policy gradients",
    when="What grpo is for, with a gradient that is true to the reward.",
)


def dr_grpo_advantage(reward_B: Tensor, prompt_of_B: Tensor) -> Tensor:
    """R(y_i) − 1/K Σ_j R(y_j), shape (B,); y_i is among the K, which costs a factor of (K−1)/K and no bias."""
    return reward_B - group_mean(reward_B, prompt_of_B)


@dataclass(frozen=True, kw_only=True, slots=True)
class DrGRPO(GroupMethod):
    """`constant_length` divides the sum over the tokens of every response: 1 is the paper's equation; its code has the
    largest length that may be sampled. It changes the size of steps, not their direction.

    The paper has no KL term. With `kl_coef` there is k3 of every token, summed like the rest: on-policy the gradient of
    KL(π0‖π) on the prefixes that π reaches.
    """

    clip: float = 0.2
    constant_length: float = 1.0

    def __post_init__(self) -> None:
        check(self, "dr_grpo", at_least_0=("kl_coef", "clip"), above_0=("constant_length", "epochs", "minibatches"))

    def advantage(self, reward_B: Tensor, prompt_of_B: Tensor) -> Tensor:
        return dr_grpo_advantage(reward_B, prompt_of_B)

    def loss(self, policy: nn.Module, batch: Compared) -> Loss:
        mask_BT, logp_BT = batch.tokens.loss_mask_BT, policy(batch.tokens).logp_BT
        acted = logp_BT, batch.old_logp_BT, batch.advantage_B[:, None], self.clip
        per_token = 1 / self.constant_length
        terms = {"policy": Term(total(clipped_surrogate(*acted), mask_BT), per="rows", weight=per_token)}
        if batch.reference_logp_BT is not None:
            kl = total(kl3(logp_BT, batch.reference_logp_BT), mask_BT)
            terms["kl"] = Term(kl, per="rows", weight=self.kl_coef * per_token)
        return Loss(
            terms=terms,
            metrics=kl_metric(batch) | {"clip_fraction": mean_of(is_clipped(*acted).float(), mask_BT)},
        )
