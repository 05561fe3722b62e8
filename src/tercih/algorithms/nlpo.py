"""NLPO: PPO in which only what a stale policy finds likely may be said (Ramamurthy et al. 2023, arXiv:2210.01241)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import torch
from torch import Tensor

from tercih.batches import Batch, Rollout, Valued
from tercih.card import Card
from tercih.families import ActorCritic
from tercih.forward import Mean, Models, Want
from tercih.method import State, check
from tercih.ops import clip_fraction, clipped_surrogate, clipped_value_loss, mean_of

CARD = Card(
    does="PPO with an action space cut to what an older policy finds likely",
    paper="Ramamurthy et al. 2023",
    link="arXiv:2210.01241",
    family="policy gradients",
    when="PPO drifts into tokens that no sensible text would have, and the reward does not mind. It costs a second"
    " model in memory and in sampling; PPO with a KL penalty that is large enough is simpler.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Masked(Valued):
    """With the log of how much of the policy its mask left, before every token."""

    kept_BT: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class NLPO(ActorCritic):
    """The mask is top-p of π_mask, with at least `min_keep` tokens, and π_mask ← π every `mask_every` rollouts, from
    the first on. Answers are *sampled* from the masked policy, and the ratio is that of masked probabilities; the KL in
    the reward is that of the policy as it is. Defaults are RL4LMs' (for IMDB), but for γ, and a KL coefficient that is
    fixed."""

    kl_coef: float = 0.1
    value_coef: float = 1.0  # of ½(V − R)²: RL4LMs has 0.5, of (V − R)²
    clip: float = 0.2
    value_clip: float = inf
    epochs: int = 5
    minibatches: int = 1
    top_p: float = 0.9
    min_keep: int = 100
    mask_every: int = 5

    def __post_init__(self) -> None:
        ActorCritic.__post_init__(self)
        positive = ("epochs", "minibatches", "top_p", "min_keep", "mask_every")
        check(self, "nlpo", at_least_0=("clip", "value_clip"), above_0=positive)
        if self.top_p > 1:
            raise ValueError(f"nlpo.top_p must be in (0, 1], got {self.top_p}")

    def init(self, models: Models) -> State:
        policy: Any = models.policy
        policy.mask(top_p=self.top_p, keep=self.min_keep)
        return {**ActorCritic.init(self, models), "mask": policy.weights()}

    def before(self, models: Models, state: State) -> State:
        """π_mask ← π at multiples of `mask_every`; otherwise it is the one in the state, also of a run that goes on."""
        policy: Any = models.policy
        if state["updates"] % self.mask_every == 0:
            state = {**state, "mask": policy.weights()}
        policy.nucleus.load(state["mask"])
        return state

    @torch.no_grad()
    def batches(self, data: Rollout, models: Models, state: State) -> Iterator[Batch | Sequence[Batch]]:
        yield from self.prepare(data, models, state["kl_coef"]).updates(
            self.epochs, self.minibatches, seed=state["updates"]
        )

    def prepare(self, data: Rollout, models: Models, kl_coef: float) -> Valued:
        found = models.policy(data.tokens, Want(logp=False, allowed=True))
        # log π of what was sampled is log of the masked π, plus log of how much of π the mask leaves
        whole = ActorCritic.prepare(self, replace(data, logp_BT=data.logp_BT + found.kept_BT), models, kl_coef)
        return Masked(
            tokens=replace(data.tokens, allowed_BTW=found.allowed_BTW),
            old_logp_BT=data.logp_BT,
            advantage_BT=whole.advantage_BT,
            reference_logp_BT=whole.reference_logp_BT,
            old_value_BT=whole.old_value_BT,
            return_BT=whole.return_BT,
            kept_BT=found.kept_BT,
        )

    def acted(self, logp_BT: Tensor, batch: Valued) -> Tensor:
        return clipped_surrogate(logp_BT, batch.old_logp_BT, batch.advantage_BT, self.clip)

    def valued(self, value_BT: Tensor, batch: Valued) -> Tensor:
        return clipped_value_loss(value_BT, batch.old_value_BT, batch.return_BT, self.value_clip)

    def measured(self, logp_BT: Tensor, batch: Valued) -> dict[str, Mean]:
        assert isinstance(batch, Masked)
        mask_BT = batch.tokens.loss_mask_BT
        return {
            "clip_fraction": clip_fraction(logp_BT, batch.old_logp_BT, self.clip, mask_BT),
            "kept": mean_of(batch.kept_BT.exp(), mask_BT),
        }

    def after(self, state: State, data: Rollout, metrics: Mapping[str, float]) -> State:
        return {**ActorCritic.after(self, state, data, metrics), "mask": state["mask"]}
