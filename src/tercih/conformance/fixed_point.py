"""Where methods come to rest that compare the answers of a group with each other: the fixed points of GRPO and its kin.

Expectations are sums over all answers that may stand beside one; no arithmetic of `tercih.ops` is used.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from tercih.conformance.groups import FLOOR
from tercih.conformance.lab import World
from tercih.models.language_model import LanguageModel

ROUNDS, HALVINGS, DAMPING = 60, 60, 0.5  # of the search

Advantage = Callable[[Tensor], Tensor]
"""Of the first of K answers, from the rewards of all (…, K)."""


def centred(reward: Tensor) -> Tensor:
    return torch.sub(reward[..., 0], reward.mean(-1))


def normalised(reward: Tensor) -> Tensor:
    return centred(reward) / (reward.std(-1) + FLOOR)


def mean_advantage(advantage: Advantage, reward_Y: Tensor, policy_Y: Tensor, samples: int) -> Tensor:
    """E[A(y) | y], over all the others that may stand beside it in a group of `samples`, shape (Y,)."""
    other_GK = torch.cartesian_prod(*[torch.arange(len(reward_Y))] * (samples - 1)).view(-1, samples - 1)
    own_YG = reward_Y[:, None].expand(-1, len(other_GK))
    reward_YGK = torch.cat([own_YG[..., None], reward_Y[other_GK].expand(len(reward_Y), -1, -1)], dim=-1)
    return advantage(reward_YGK) @ policy_Y[other_GK].prod(1)


def fixed_point(world: World, advantage: Advantage, samples: int, beta: float, *, per_response: bool) -> LanguageModel:
    """The policy at which E[Σ_t w (A ∇log π − β ∇k3)] = 0 on every prefix, with w = 1/|y| or 1.

    On every prefix the expected pull of each token v must be the same: π(v) = β W(v) π0(v) / (c + β W(v) − Q(v)), where
    W and Q are the means of w and of wA over what goes on with v, and c makes it add up to 1. Solved from what the last
    round's π reaches, again and again.
    """
    language, base_DV = world.language, world.logits_DV.softmax(1)
    place_YT = torch.zeros_like(language.ids_YT)
    for y, answer in enumerate(language.answers):
        for t, prefix in enumerate(language.path(answer)[:-1]):
            place_YT[y, t] = prefix * language.vocabulary + answer[t]
    mask_YT = language.all.loss_mask_BT
    weight_Y = 1 / language.length_Y.double() if per_response else torch.ones(len(language.answers)).double()
    policy_DV = base_DV

    def behind(x_Y: Tensor) -> Tensor:
        """Σ over the answers that go through each (prefix, token)."""
        flat = torch.zeros(policy_DV.numel(), dtype=torch.float64)
        return flat.index_add(0, place_YT[mask_YT], x_Y[:, None].expand_as(mask_YT)[mask_YT]).view_as(policy_DV)

    for _ in range(ROUNDS):
        logp_YT = torch.where(mask_YT, policy_DV.flatten()[place_YT].log(), 0.0)
        policy_Y = logp_YT.sum(1).exp()
        mass_DV = behind(policy_Y).clamp(min=1e-300)
        stake_DV = beta * behind(policy_Y * weight_Y) / mass_DV
        advantage_Y = mean_advantage(advantage, world.reward_Y, policy_Y, samples)
        gain_DV = behind(policy_Y * weight_Y * advantage_Y) / mass_DV
        found_DV = _adding_up(stake_DV * base_DV, stake_DV - gain_DV, behind(policy_Y) > 0)
        policy_DV = (DAMPING * found_DV.log() + (1 - DAMPING) * policy_DV.log()).softmax(1)
    policy = world.policy()
    with torch.no_grad():
        policy.causal.table.weight.copy_(policy_DV.log().T)
    return policy


def _adding_up(top_DV: Tensor, bottom_DV: Tensor, reached_DV: Tensor) -> Tensor:
    """top / (c + bottom) with the c > max(−bottom) of each row for which it adds up to 1; uniform where not reached."""
    least_D1 = (-bottom_DV).max(1, keepdim=True).values
    low_D1, high_D1 = torch.full_like(least_D1, 0.0), top_DV.sum(1, keepdim=True)
    for _ in range(HALVINGS):
        middle_D1 = (low_D1 + high_D1) / 2
        over = (top_DV / (least_D1 + middle_D1 + bottom_DV)).sum(1, keepdim=True) > 1
        low_D1, high_D1 = torch.where(over, middle_D1, low_D1), torch.where(over, high_D1, middle_D1)
    found_DV = top_DV / (least_D1 + high_D1 + bottom_DV)
    return torch.where(reached_DV, found_DV, 1 / top_DV.shape[1])
