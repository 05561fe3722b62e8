"""MRT: minimum risk training, the expected reward under a distribution sharpened or flattened on the sampled responses
alone (Shen et al. 2016, arXiv:1512.02433; as a method of RL, Kiegeland & Kreutzer 2021, arXiv:2106.08942)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tercih.batches import Rollout
from tercih.card import Card
from tercih.forward import Loss, Term
from tercih.method import Method, check
from tercih.ops import group_size, group_softmax, mean_of, row_sum

CARD = Card(
    does="makes the better ones of a prompt's answers likelier than the others",
    paper="Shen et al. 2016; Kiegeland & Kreutzer 2021",
    link="arXiv:1512.02433",
    family="policy gradients",
    when="Several answers a prompt and a reward that a metric gives, as in translation. It moves probability between"
    " the answers it sees; RLOO follows the reward of what the policy would say, and stays near a reference.",
)


def mrt_weights(logp_B: Tensor, prompt_of_B: Tensor, alpha: float) -> Tensor:
    """Q(y) = p(y)^α / Σ p(y')^α over the responses to a prompt (Shen et al. 2016, eq. 13), shape (B,)."""
    return group_softmax(alpha * logp_B, prompt_of_B)


@dataclass(frozen=True, kw_only=True, slots=True)
class MRT(Method):
    """−Σ_y Q(y) r(y), a mean over prompts. The gradient is −α Σ_y Q(y) (r(y) − Σ Q r) ∇log π(y): a baseline comes with
    it, and a constant reward moves nothing. A response that was sampled twice counts twice. `alpha` is Kiegeland &
    Kreutzer's (for 5 responses a prompt); 1 is the policy's own distribution, cut to what was sampled."""

    learns_from = "rollouts"
    needs_groups = True

    alpha: float = 0.005

    def __post_init__(self) -> None:
        check(self, "mrt", above_0=("alpha",))

    def loss(self, policy: nn.Module, batch: Rollout) -> Loss:
        tokens = batch.tokens
        group_size(tokens.prompt_of_B)  # refuses a response that stands alone: its Q is 1 whatever the policy
        logp_B = row_sum(policy(tokens).logp_BT, tokens.loss_mask_BT)
        weight_B = mrt_weights(logp_B, tokens.prompt_of_B, self.alpha)
        reward_P = torch.zeros(tokens.prompts, dtype=logp_B.dtype, device=logp_B.device)
        reward_P = reward_P.index_add(0, tokens.prompt_of_B, weight_B * batch.reward_B.to(logp_B.dtype))
        return Loss(
            terms={"risk": Term(-reward_P.sum(), per="prompts")},
            metrics={"expected_reward": mean_of(reward_P)},
        )
