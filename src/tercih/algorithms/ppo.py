"""PPO for language models with KL control (Schulman et al. 2017; Ziegler et al. 2019, arXiv:1909.08593).

The details that decide whether published runs reproduce each name where they come from. Those that are not the method's
own stand where they belong: reward models in `models/reward_model.py`, truncation and missing-EOS scores in `rewards/`,
temperature and lengths in `rollout/`, optimiser and schedule in `recipes/presets.py`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tercih.batches import Batch, Rollout, Valued
from tercih.card import Card
from tercih.families import ActorCritic
from tercih.forward import Loss, Mean, Models, Term
from tercih.method import State, check
from tercih.ops import clip_fraction, clipped_surrogate, clipped_value_loss, total

CARD = Card(
    does="raises a reward and stays near its start, with a critic",
    paper="Schulman et al. 2017; Ziegler et al. 2019",
    link="arXiv:1909.08593",
    family="policy gradients",
    when=(
        "A reward, learned or a rule, many steps, and token-level credit from a value head. Where "
        "memory for a critic is missing or answers are short, rloo reaches the same optimum with "
        "less."
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pretraining(Batch):
    """Text of the pre-training distribution, mixed into the loss by PPO-ptx."""

    def units(self) -> dict[str, Tensor]:
        return {"pretraining_tokens": self.tokens.loss_mask_BT.sum()}


@dataclass(frozen=True, kw_only=True, slots=True)
class PPO(ActorCritic):
    """Defaults are lm-human-preferences' (Ziegler et al. 2019), except for a fixed KL coefficient.

    `pretraining_coef` is γ of PPO-ptx (Ouyang et al. 2022, eq. 2) and needs rollouts that carry pre-training text.
    """

    clip: float = 0.2
    value_clip: float = 0.2
    epochs: int = 4
    minibatches: int = 1
    pretraining_coef: float = 0.0

    def __post_init__(self) -> None:
        ActorCritic.__post_init__(self)
        check(self, "ppo", at_least_0=("clip", "value_clip", "pretraining_coef"), above_0=("epochs", "minibatches"))

    @torch.no_grad()
    def batches(self, data: Rollout, models: Models, state: State) -> Iterator[Batch | Sequence[Batch]]:
        batch = self.prepare(data, models, state["kl_coef"])
        if self.pretraining_coef and data.pretraining is None:
            raise ValueError(
                "ppo.pretraining_coef > 0 needs rollouts with pre-training text: give the sampler `pretraining`"
            )
        for part in batch.updates(self.epochs, self.minibatches, seed=state["updates"]):
            if self.pretraining_coef and data.pretraining is not None:
                yield part, Pretraining(tokens=data.pretraining.tokens)
            else:
                yield part

    def acted(self, logp_BT: Tensor, batch: Valued) -> Tensor:
        return clipped_surrogate(logp_BT, batch.old_logp_BT, batch.advantage_BT, self.clip)

    def valued(self, value_BT: Tensor, batch: Valued) -> Tensor:
        return clipped_value_loss(value_BT, batch.old_value_BT, batch.return_BT, self.value_clip)

    def measured(self, logp_BT: Tensor, batch: Valued) -> dict[str, Mean]:
        return {"clip_fraction": clip_fraction(logp_BT, batch.old_logp_BT, self.clip, batch.tokens.loss_mask_BT)}

    def loss(self, policy: nn.Module, batch: Batch) -> Loss:
        return (
            self._pretraining_loss(policy, batch)
            if isinstance(batch, Pretraining)
            else ActorCritic.loss(self, policy, batch)
        )

    def _pretraining_loss(self, policy: nn.Module, batch: Pretraining) -> Loss:
        mask_BT = batch.tokens.loss_mask_BT
        nll = -total(policy(batch.tokens).logp_BT, mask_BT)
        return Loss(
            terms={"pretraining": Term(nll, per="pretraining_tokens", weight=self.pretraining_coef)},
            metrics={"pretraining_nats_per_token": (nll.detach(), mask_BT.sum())},
        )
