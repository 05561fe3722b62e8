"""Inverse preference learning (Hejna & Sadigh 2023, arXiv:2305.15363): Q-values straight from compared clips.

A Q-function under a policy is one with the reward r = Q(s, a) − γ V(s') (the inverse Bellman operator), so that Bradley
and Terry's model may be fitted to Q and no reward be learned. V and the actor are implicit Q-learning's (Kostrikov et
al. 2022, arXiv:2110.06169). A step's successor is the next step of its clip: of a clip's last step only V is used.

Suffixes: K critics, B clips, T steps, U = T − 1 steps with a successor, S = B·U of them without order.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tercih.agents.networks import Critics
from tercih.agents.offline import logp_of
from tercih.card import Card
from tercih.forward import Loss, Models, Term
from tercih.method import Method, State, check
from tercih.models.control import FAR, ActorCritic, inputs_of, outputs_of
from tercih.ops import mean_of
from tercih.segments import SegmentPairs, Segments

CARD = Card(
    does="Q-values whose implied reward explains who was preferred",
    paper="Hejna & Sadigh 2023",
    link="arXiv:2305.15363",
    family="control from people",
    when="Offline learning from compared clips with a reward in mind, but without a reward model.",
)


def expectile_loss(difference: Tensor, expectile: float) -> Tensor:
    """|τ − 1(u < 0)| u²: what is above counts τ, what is below 1 − τ (Kostrikov et al. 2022, eq. 5)."""
    return torch.where(difference < 0, 1 - expectile, expectile) * difference.square()


class Implicit(nn.Module):
    """An actor with its V (an `ActorCritic`), critics Q, and a slow copy of them. Where observations and actions are
    both categories, Q is read of their pair, so that no `hidden` layer makes it a table."""

    def __init__(
        self,
        observation_space: Any,
        action_space: Any,
        *,
        hidden: Sequence[int] = (256, 256),
        critics: int = 2,
        normalise: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.actor = ActorCritic(observation_space, action_space, hidden=hidden, normalise=normalise, seed=seed)
        self.categories, observed = inputs_of(observation_space)
        self.discrete, acted = outputs_of(action_space)
        self.actions = acted
        inputs = observed * acted if self.categories and self.discrete else observed + acted
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.critics = Critics(inputs, hidden, critics)
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)

    def read(self, clips: Segments) -> Tensor:
        """What critics read of the steps that have a successor, (S, I)."""
        observation_S, action_S = (x[:, :-1].flatten(0, 1) for x in (clips.observation_BTO, clips.action_BTA))
        if self.categories and self.discrete:
            return F.one_hot(observation_S * self.actions + action_S, self.categories * self.actions).to(self.dtype)
        if self.categories:
            seen_SI = F.one_hot(observation_S, self.categories).to(self.dtype)
        else:
            seen_SI = ((observation_S - self.actor.shift_O) * self.actor.scale_O).clamp(-FAR, FAR)
        done_SI = F.one_hot(action_S, self.actions).to(self.dtype) if self.discrete else action_S
        return torch.cat([seen_SI, done_SI], -1)

    def reward(self, clips: Segments, gamma: float) -> Tensor:
        """What Q implies, (K, B, U), with gradient to Q alone."""
        value_BT = self.value(clips).detach()
        value_KS: Tensor = self.critics(self.read(clips))
        return value_KS.view(-1, len(value_BT), value_BT.shape[1] - 1) - gamma * value_BT[:, 1:]

    def value(self, clips: Segments) -> Tensor:
        """V of every step, (B, T)."""
        return self.actor.value(clips.observation_BTO.flatten(0, 1)).view(clips.mask_BT.shape)

    @property
    def dtype(self) -> torch.dtype:
        return self.actor.shift_O.dtype


@dataclass(frozen=True, kw_only=True, slots=True)
class IPL(Method):
    """`chi2` weighs the squared implied rewards, which the comparisons leave free up to a constant; `temperature` β of
    the actor's weights e^{(Q − V)/β}, bounded by 100. The slow copy of the critics follows them by `tau` a step.

    Trains an `Implicit`, all of whose parts learn at once: their losses share no parameter.
    """

    learns_from = "pairs"

    gamma: float = 0.99
    expectile: float = 0.75
    temperature: float = 1 / 3
    chi2: float = 0.5
    tau: float = 0.005

    def __post_init__(self) -> None:
        check(self, "ipl", at_least_0=("chi2",), above_0=("temperature",))
        if not 0 <= self.gamma <= 1 or not 0 < self.tau <= 1 or not 0 < self.expectile < 1:
            raise ValueError(
                f"ipl.gamma is in [0, 1], ipl.tau in (0, 1] and ipl.expectile in (0, 1), got {self.gamma}, {self.tau}"
                f" and {self.expectile}"
            )

    @torch.no_grad()
    def batches(self, data: SegmentPairs, models: Models, state: State) -> Iterator[SegmentPairs]:
        model = models.policy
        if not isinstance(model, Implicit):
            raise ValueError("ipl trains a tercih.agents.ipl.Implicit, in one process")
        if data.items.mask_BT.shape[1] < 2:
            raise ValueError("ipl needs clips of at least two steps: the last one's successor is not in them")
        torch._foreach_lerp_(list(model.targets.parameters()), list(model.critics.parameters()), self.tau)
        yield data

    def loss(self, model: nn.Module, batch: SegmentPairs) -> Loss:
        assert isinstance(model, Implicit)
        clips, mask_BU = batch.items, batch.items.mask_BT[:, 1:]
        reward_KBU = model.reward(clips, self.gamma) * mask_BU
        score_KB = reward_KBU.sum(-1)
        difference_KN = score_KB[:, batch.first_row_N] - score_KB[:, batch.second_row_N]
        target_N = batch.target_N3[:, 0] + batch.target_N3[:, 2] / 2
        loss_N = F.binary_cross_entropy_with_logits(
            difference_KN, target_N.to(difference_KN).expand_as(difference_KN), reduction="none"
        ).sum(0)

        with torch.no_grad():
            slow_BU = model.targets(model.read(clips)).amin(0).view(mask_BU.shape)
        value_BU = model.value(clips)[:, :-1]
        advantage_BU = slow_BU - value_BU
        weight_BU = (advantage_BU.detach() / self.temperature).exp().clamp(max=100.0)
        logp_BU = logp_of(model.actor, clips)[:, :-1]
        steps = mask_BU.sum()

        def per_clip(x_BU: Tensor) -> Term:
            return Term((x_BU * mask_BU).sum(-1).div(mask_BU.sum(-1).clamp(min=1)).sum(), per="rows")

        decided_N = batch.target_N3[:, 0] != batch.target_N3[:, 1]
        right_N = (difference_KN.mean(0) > 0) == (batch.target_N3[:, 0] > batch.target_N3[:, 1])
        return Loss(
            terms={
                "preference": Term((batch.weight_N * loss_N).sum(), per="comparisons"),
                "chi2": Term(per_clip(reward_KBU.square().sum(0)).sum, per="rows", weight=self.chi2),
                "value": per_clip(expectile_loss(advantage_BU, self.expectile)),
                "actor": per_clip(-weight_BU * logp_BU),
            },
            metrics={
                "accuracy": mean_of(right_N.float(), decided_N),
                "implied_reward": (reward_KBU.detach().mean(0).sum(), steps),
                "value": ((value_BU * mask_BU).detach().sum(), steps),
            },
        )
