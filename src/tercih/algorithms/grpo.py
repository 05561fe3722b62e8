"""GRPO: PPO's clip, with a group's mean and spread in place of a critic (Shao et al. 2024, arXiv:2402.03300).

Two details make it optimise something else than the reward (Liu et al. 2025, whose `dr_grpo` is without them): dividing
by the spread lifts prompts that are answered almost always alike, and the mean over each response makes a bad token of
a long response cheaper than one of a short response.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from tercih.batches import Compared
from tercih.card import Card
from tercih.families import GroupMethod
from tercih.forward import Loss, Term
from tercih.method import check
from tercih.ops import clipped_surrogate, group_normalised, is_clipped, kl3, kl_metric, mean_of, row_mean

CARD = Card(
    does="PPO's clip with a group's mean and spread in place of a critic",
    paper="Shao et al. 2024",
    link="arXiv:2402.03300",
    family="policy gradients",
    when=(
        "Rewards of right or wrong and several answers to every prompt. Its gradient is not quite the "
        "reward's: see dr_grpo."
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class GRPO(GroupMethod):
    """Defaults are the paper's: one update a rollout, so that the clip only acts with more epochs or minibatches.

    The KL term is k3 of the sampled tokens as a *loss* (eq. 4). Where π is the policy that sampled, its gradient is the
    one of KL(π0‖π) on every prefix that π reaches, not of KL(π‖π0): the optimum is not π0 exp(r/β).
    """

    kl_coef: float = 0.04
    clip: float = 0.2

    def __post_init__(self) -> None:
        check(self, "grpo", at_least_0=("kl_coef", "clip"), above_0=("epochs", "minibatches"))

    def advantage(self, reward_B: Tensor, prompt_of_B: Tensor) -> Tensor:
        return group_normalised(reward_B, prompt_of_B)  # §4.1.2

    def loss(self, policy: nn.Module, batch: Compared) -> Loss:
        """Eq. 3: a mean over the tokens of each response, and of that a mean over responses. At ratio 1 its gradient is
        that of eq. 21, A + β(π0/π − 1) on every token."""
        mask_BT, logp_BT = batch.tokens.loss_mask_BT, policy(batch.tokens).logp_BT
        acted = logp_BT, batch.old_logp_BT, batch.advantage_B[:, None], self.clip
        terms = {"policy": Term(row_mean(clipped_surrogate(*acted), mask_BT).sum(), per="rows")}
        if batch.reference_logp_BT is not None:
            kl_B = row_mean(kl3(logp_BT, batch.reference_logp_BT), mask_BT)
            terms["kl"] = Term(kl_B.sum(), per="rows", weight=self.kl_coef)
        return Loss(
            terms=terms,
            metrics=kl_metric(batch) | {"clip_fraction": mean_of(is_clipped(*acted).float(), mask_BT)},
        )
