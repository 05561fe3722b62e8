"""GSPO: one ratio and one clip for a whole response (Zheng et al. 2025, arXiv:2507.18071, eq. 5 to 7)."""

from dataclasses import dataclass

from torch import Tensor, nn

from tercih.batches import Compared
from tercih.card import Card
from tercih.families import GroupMethod
from tercih.forward import Loss, Term
from tercih.method import check
from tercih.ops import clipped_surrogate, group_normalised, is_clipped, kl3, kl_metric, mean_of, row_mean

CARD = Card(
    does="one ratio and one clip for a whole answer",
    paper="Zheng et al. 2025",
    link="arXiv:2507.18071",
    family="policy gradients",
    when=(
        "Several updates from a rollout, where the ratios of single tokens are noise; mixtures of experts above all."
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class GSPO(GroupMethod):
    """Defaults are the paper's. The ratio is (π(y)/π_old(y))^(1/|y|), a geometric mean over tokens, so that its bounds
    are much closer to 1 than those of a token's ratio. While it is 1, the gradient is GRPO's.

    The paper leaves out the KL term. With `kl_coef` it is GRPO's: k3, a mean over each response.
    """

    clip_low: float = 3e-4
    clip_high: float = 4e-4
    minibatches: int = 4

    def __post_init__(self) -> None:
        check(self, "gspo", at_least_0=("kl_coef", "clip_low", "clip_high"), above_0=("epochs", "minibatches"))

    def advantage(self, reward_B: Tensor, prompt_of_B: Tensor) -> Tensor:
        return group_normalised(reward_B, prompt_of_B)  # eq. 6

    def loss(self, policy: nn.Module, batch: Compared) -> Loss:
        """Eq. 5, a mean over responses."""
        mask_BT, logp_BT = batch.tokens.loss_mask_BT, policy(batch.tokens).logp_BT
        # eq. 7: log s = mean over tokens of log π/π_old
        per_token_B, old_per_token_B = row_mean(logp_BT, mask_BT), row_mean(batch.old_logp_BT, mask_BT)
        acted = per_token_B, old_per_token_B, batch.advantage_B, self.clip_low, self.clip_high
        terms = {"policy": Term(clipped_surrogate(*acted).sum(), per="rows")}
        if batch.reference_logp_BT is not None:
            kl_B = row_mean(kl3(logp_BT, batch.reference_logp_BT), mask_BT)
            terms["kl"] = Term(kl_B.sum(), per="rows", weight=self.kl_coef)
        return Loss(
            terms=terms,
            metrics=kl_metric(batch) | {"clip_fraction": mean_of(is_clipped(*acted).float())},
        )
