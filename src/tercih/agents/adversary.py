"""What GAIL and AIRL share: a discriminator between an expert's steps and an agent's; its answer is the agent's reward.

Shape suffixes here: B steps without order, T steps of N copies, I numbers that a network reads.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tercih.agents.demonstrations import Demonstrated
from tercih.agents.experience import Collector, Experience
from tercih.environments.control import Array
from tercih.models.control import ActorCritic


class Discriminator(nn.Module):
    """Tells an expert's steps (D → 1) from the agent's (D → 0)."""

    def __init__(self, policy: ActorCritic) -> None:
        super().__init__()
        # Held outside the modules: it is read and never trained from here.
        self._policy = (policy,)

    @property
    def policy(self) -> ActorCritic:
        return self._policy[0]

    def logit(self, batch: Demonstrated) -> Tensor:
        """log D − log(1 − D), shape (B,)."""
        raise NotImplementedError

    def reward(self, batch: Demonstrated) -> Tensor:
        """Shape (B,)."""
        raise NotImplementedError

    def states(self, observation_B: Tensor) -> Tensor:
        """Observations as numbers of like size: one-hot, or standardised as the policy does. Shape (B, I)."""
        policy = self.policy
        if policy.categories:
            return F.one_hot(observation_B, policy.categories).to(policy.shift_O)
        return (observation_B - policy.shift_O) * policy.scale_O

    def actions(self, action_B: Tensor) -> Tensor:
        """Shape (B, I)."""
        policy = self.policy
        return F.one_hot(action_B, policy.actor.out_features).to(policy.shift_O) if policy.discrete else action_B


def scorer(inputs: int, hidden: Sequence[int], dice: torch.Generator) -> nn.Sequential:
    """tanh layers to one number, which begins at 0; without `hidden` it is linear: a table of what is one-hot."""
    sizes, layers = [inputs, *hidden], list[nn.Module]()
    for below, above in zip(sizes, hidden, strict=False):
        layer = nn.Linear(below, above)
        nn.init.orthogonal_(layer.weight, math.sqrt(2), generator=dice)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.Tanh()]
    last = nn.Linear(sizes[-1], 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)


@dataclass(kw_only=True)
class Adversary:
    """Rollouts for `PPO` in which the reward is the discriminator's; after each, the discriminator learns from it.

    A rollout is rewarded by the discriminator that learned from those before it. It then takes `updates` steps of Adam,
    each on `batch` of the demonstrations and as many of the rollout. The agent's actions are compared as the
    environment got them, so that leaving the bounds does not tell it from the expert.
    """

    discriminator: Discriminator
    demonstrations: Demonstrated
    collector: Collector
    updates: int = 10
    batch: int = 256
    lr: float = 1e-3
    optimiser: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        if self.updates < 0 or self.batch < 1 or not self.lr > 0:
            raise ValueError(
                f"an adversary needs updates >= 0, batch >= 1 and lr > 0, got {self.updates}, {self.batch}, {self.lr}"
            )
        if self.collector.reward is not None:
            raise ValueError("the adversary's reward is its discriminator's: make the collector without reward=…")
        if self.collector.policy is not self.discriminator.policy:
            raise ValueError("the discriminator must be of the policy that collects: make both with the same one")
        self.collector.reward = self.reward
        self.optimiser = torch.optim.Adam(self.discriminator.parameters(), lr=self.lr, betas=(0.5, 0.999))

    @property
    def steps(self) -> int:
        return self.collector.steps

    def __call__(self, step: int) -> Experience:
        experience = self.collector(step)
        loss, right = self._learn(experience, step)
        one = torch.tensor(1.0)
        learned = {"discriminator_loss": (loss, one), "discriminator_accuracy": (right, one)}
        return replace(experience, finished={**experience.finished, **learned})

    @torch.no_grad()
    def reward(self, observation: Array, action: Array, following: Array) -> Array:
        """As `StepReward`."""
        policy = self.collector.policy
        rows = observation.shape[: observation.ndim - policy.axes]
        flat = [each.reshape(-1, *each.shape[len(rows) :]) for each in (observation, action, following)]
        batch = Demonstrated(
            observation_B=policy.numbers(flat[0]),
            action_B=policy.as_drawn(flat[1]),
            following_B=policy.numbers(flat[2]),
        )
        reward_B = self.discriminator.reward(batch).double().cpu().numpy()
        return np.asarray(reward_B.reshape(rows))

    def _learn(self, experience: Experience, step: int) -> tuple[Tensor, Tensor]:
        """Mean loss and accuracy of the updates, on the examples before they were learned."""
        policy, dice = self.collector.policy, torch.Generator().manual_seed(_key(self.collector.seed, step))
        drawn_B = experience.action_TN.flatten(0, 1)
        agents = Demonstrated(
            observation_B=experience.observation_TN.flatten(0, 1),
            action_B=policy.as_drawn(policy.for_environment(drawn_B)),
            following_B=experience.following_TN.flatten(0, 1),
        )
        losses, rights = [torch.zeros(())], [torch.zeros(())]
        for _ in range(self.updates):
            logit_B, expert_B = [], []
            for part, is_experts in ((self.demonstrations, 1.0), (agents, 0.0)):
                row = torch.randint(part.rows, (self.batch,), generator=dice).to(part.action_B.device)
                logit_B.append(self.discriminator.logit(part.take(row)))
                expert_B.append(torch.full_like(logit_B[-1], is_experts))
            logit, target = torch.cat(logit_B), torch.cat(expert_B)
            loss = F.binary_cross_entropy_with_logits(logit, target)
            if not torch.isfinite(loss):
                raise FloatingPointError(f"the discriminator's loss is {float(loss.detach())}")
            self.optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
            losses.append(loss.detach())
            rights.append(((logit > 0) == (target > 0)).float().mean())
        count = max(self.updates, 1)
        return torch.stack(losses).sum() / count, torch.stack(rights).sum() / count

    def state_dict(self) -> dict[str, Any]:
        return {
            "collector": self.collector.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.collector.load_state_dict(state["collector"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.optimiser.load_state_dict(state["optimiser"])


def _key(seed: int, step: int) -> int:
    """Another one than the collector's."""
    return int(np.random.SeedSequence((seed, step, 1)).generate_state(1, np.uint64)[0] >> 1)
