"""REINFORCE++: PPO's token rewards and clip with a normalised return in place of a critic (Hu 2025,
arXiv:2501.03262)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tercih.batches import Batch, Credited, Rollout
from tercih.card import Card
from tercih.forward import Loss, Models, Term
from tercih.method import Method, State, check
from tercih.ops import (
    clip_fraction,
    clipped_surrogate,
    gae,
    group_mean,
    kl1,
    kl_metric,
    token_rewards,
    total,
    whiten,
)

CARD = Card(
    does="PPO without a critic: returns of single tokens, normalised over the whole rollout",
    paper="Hu 2025",
    link="arXiv:2501.03262",
    family="policy gradients",
    when="One answer a prompt, no room for a critic, several updates a rollout. Prompts that differ in how well they"
    " can be answered drown each other out: there RLOO and GRPO compare answers to the same prompt.",
)


def returns_to_go(reward_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Σ of the rewards from every token on, shape (B, T): GAE of a critic that always says 0, with γ = λ = 1."""
    return gae(reward_BT, torch.zeros_like(reward_BT), mask_BT, gamma=1.0, lam=1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReinforcePP(Method):
    """A_t = r(x, y) − β Σ_{i≥t} KL(i), then mean 0 and deviation 1 over all tokens of the rollout. Defaults are
    those of OpenRLHF, in which the author released it.

    With `group_baseline` it is REINFORCE++ w/ Baseline: first the mean over the responses to a prompt is taken off
    their scores. A response is in its own mean, so that of K responses (1 − 1/K) of the reward is left beside the KL.
    """

    learns_from = "rollouts"
    needs_reference = True

    kl_coef: float = 0.01
    clip: float = 0.2
    epochs: int = 1
    minibatches: int = 1
    group_baseline: bool = False

    def __post_init__(self) -> None:
        check(self, "reinforce_pp", at_least_0=("kl_coef", "clip"), above_0=("epochs", "minibatches"))

    @property
    def needs_groups(self) -> bool:
        return self.group_baseline

    def init(self, models: Models) -> State:
        return {"updates": 0}

    @torch.no_grad()
    def batches(self, data: Rollout, models: Models, state: State) -> Iterator[Batch]:
        mask_BT, reference_logp_BT = data.tokens.loss_mask_BT, models.reference_logp(data.tokens)
        reward_B = data.reward_B
        if self.group_baseline:
            reward_B = reward_B - group_mean(reward_B, data.tokens.prompt_of_B)
        reward_BT = token_rewards(reward_B, kl1(data.logp_BT, reference_logp_BT), mask_BT, self.kl_coef)
        batch = Credited(
            tokens=data.tokens,
            old_logp_BT=data.logp_BT,
            advantage_BT=whiten(returns_to_go(reward_BT, mask_BT), mask_BT),
            reference_logp_BT=reference_logp_BT,
        )
        yield from batch.updates(self.epochs, self.minibatches, seed=state["updates"])

    def loss(self, policy: nn.Module, batch: Credited) -> Loss:
        mask_BT, logp_BT = batch.tokens.loss_mask_BT, policy(batch.tokens).logp_BT
        surrogate_BT = clipped_surrogate(logp_BT, batch.old_logp_BT, batch.advantage_BT, self.clip)
        clipped = clip_fraction(logp_BT, batch.old_logp_BT, self.clip, mask_BT)
        return Loss(
            terms={"policy": Term(total(surrogate_BT, mask_BT), per="tokens")},
            metrics=kl_metric(batch) | {"clip_fraction": clipped},
        )

    def after(self, state: State, data: Rollout, metrics: Mapping[str, float]) -> State:
        return {"updates": state["updates"] + 1}
