"""PPO for control (Schulman et al. 2017, arXiv:1707.06347), with the details that published runs depend on (Huang et
al. 2022, "The 37 implementation details of proximal policy optimization").

Those that are not the method's own stand where they belong: networks, their first weights and standardised observations
in `models/control.py`; standardised rewards in `agents/experience.py`; Adam's epsilon, the bound of the gradient's norm
and the falling learning rate in `Optimisation`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tercih.agents.experience import Acts, Experience
from tercih.forward import Loss, Models, Term
from tercih.method import Method, State, check
from tercih.models.control import ActorCritic
from tercih.ops import clipped_surrogate, clipped_value_loss, gae_of_steps, is_clipped, kl3


@dataclass(frozen=True, kw_only=True, slots=True)
class PPOActs(Acts):
    """A rollout's steps with what the updates need; everything was computed before the first of them."""

    old_logp_B: Tensor
    old_value_B: Tensor
    advantage_B: Tensor
    return_B: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class PPO(Method):
    """Defaults are those of the paper's MuJoCo runs as released (baselines' ppo2), without its clip of the value.

    `minibatch` is how many steps are in an update; a rollout must hold a whole number of them. Advantages are
    standardised within each, before it may be cut any further.
    """

    learns_from = "rollouts"
    needs_values = True

    clip: float = 0.2
    value_clip: float | None = None
    value_coef: float = 0.5
    entropy_coef: float = 0.0
    gamma: float = 0.99
    lam: float = 0.95
    epochs: int = 10
    minibatch: int = 64
    standardise_advantages: bool = True

    def __post_init__(self) -> None:
        nonnegative = ("clip", "value_coef", "entropy_coef")
        check(self, "ppo", at_least_0=nonnegative, above_0=("epochs", "minibatch"))
        for name in ("gamma", "lam"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"ppo.{name} must be in [0, 1], got {getattr(self, name)}")
        if self.value_clip is not None and not self.value_clip > 0:
            raise ValueError(f"ppo.value_clip must be > 0, or None for no clip, got {self.value_clip}")
        if self.standardise_advantages and self.minibatch < 2:
            raise ValueError("ppo.minibatch must be >= 2: one advantage alone, standardised, is 0 and teaches nothing")

    def init(self, models: Models) -> State:
        return {"rollouts": 0}

    @torch.no_grad()
    def batches(self, data: Experience, models: Models, state: State) -> Iterator[PPOActs]:
        policy, rollouts = models.policy, state["rollouts"]
        if not isinstance(policy, ActorCritic):
            raise ValueError("ppo for control trains a tercih.models.control.ActorCritic, in one process")
        if data.rows % self.minibatch:
            raise ValueError(
                f"a rollout of {data.rows} steps cannot be cut into minibatches of {self.minibatch}: set ppo.minibatch"
                " or the collector's length so that it can"
            )
        seen_B = data.observation_TN.flatten(0, 1)
        if rollouts == 0:  # whose actions hardly depend on what was seen; better late than to learn from raw numbers
            policy.observe(seen_B)
        batch = self.prepare(data, policy)
        dice = torch.Generator().manual_seed(rollouts)
        for _ in range(self.epochs):
            order_B = torch.randperm(batch.rows, generator=dice).to(batch.advantage_B.device)
            shuffled = batch.take(order_B)
            if self.standardise_advantages:  # of each minibatch, all at once: a row of this table is one
                table = shuffled.advantage_B.view(-1, self.minibatch)
                standard_B = F.layer_norm(table, (self.minibatch,), eps=1e-8).flatten()
                shuffled = replace(shuffled, advantage_B=standard_B)
            yield from shuffled.split(self.minibatch)
        if rollouts > 0:  # after the updates, so that none of them reads other numbers than those acted on
            policy.observe(seen_B)

    def prepare(self, data: Experience, policy: ActorCritic) -> PPOActs:
        """Advantages and returns of a rollout, before any update changes the policy."""
        shape = data.reward_TN.shape
        observation_B, action_B = data.observation_TN.flatten(0, 1), data.action_TN.flatten(0, 1)
        judged = policy(observation_B, action_B)
        following_TN = policy.value(data.following_TN.flatten(0, 1)).view(shape)
        advantage_TN = gae_of_steps(
            data.reward_TN,
            judged.value_B.view(shape),
            following_TN,
            data.terminated_TN,
            data.over_TN,
            self.gamma,
            self.lam,
        )
        advantage_B = advantage_TN.flatten()
        return PPOActs(
            observation_B=observation_B,
            action_B=action_B,
            old_logp_B=judged.logp_B,
            old_value_B=judged.value_B,
            advantage_B=advantage_B,
            return_B=advantage_B + judged.value_B,
        )

    def loss(self, policy: nn.Module, batch: PPOActs) -> Loss:
        judged = policy(batch.observation_B, batch.action_B)
        surrogate = clipped_surrogate(judged.logp_B, batch.old_logp_B, batch.advantage_B, self.clip).sum()
        value = self.value_loss(judged.value_B, batch).sum()
        entropy = judged.entropy_B.sum()
        terms = {
            "policy": Term(surrogate, per="rows"),
            "value": Term(value, per="rows", weight=self.value_coef),
        }
        if self.entropy_coef:
            terms["entropy"] = Term(entropy, per="rows", weight=-self.entropy_coef)
        with torch.no_grad():
            rows, logp_B, old_logp_B = torch.tensor(float(batch.rows)), judged.logp_B, batch.old_logp_B
            metrics = {
                "kl": (kl3(old_logp_B, logp_B).sum(), rows),
                "clip_fraction": (is_clipped(logp_B, old_logp_B, batch.advantage_B, self.clip).sum(), rows),
                "entropy": (entropy.detach(), rows),
                "value_loss": (value.detach(), rows),
            }
        return Loss(terms=terms, metrics=metrics)

    def value_loss(self, value_B: Tensor, batch: PPOActs) -> Tensor:
        """½(V - R)², or with a clip the larger of that and the same where V is held near what it was."""
        if self.value_clip is None:
            return 0.5 * (value_B - batch.return_B).square()
        return clipped_value_loss(value_B, batch.old_value_B, batch.return_B, self.value_clip)

    def after(self, state: State, data: object, metrics: object) -> State:
        return {"rollouts": state["rollouts"] + 1}
