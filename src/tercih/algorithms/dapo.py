"""DAPO: GRPO with a higher upper clip, a mean over tokens, and groups that teach something (Yu et al. 2025,
arXiv:2503.14476, eq. 8 to 12).

Two of the paper's parts stand where they belong: the sampler asks further prompts in the place of groups that teach
nothing (`Rollouts.refill`), and the soft punishment of overlong responses is a reward (`rewards/combine.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from tercih.batches import Batch, Compared, Rollout
from tercih.card import Card
from tercih.forward import Loss, Models, Term
from tercih.method import Method, State, check
from tercih.ops import clipped_surrogate, group_normalised, is_clipped, mean_of, total

CARD = Card(
    does="GRPO with a higher upper clip, a mean over tokens and groups that teach something",
    paper="Yu et al. 2025",
    link="arXiv:2503.14476",
    family="policy gradients",
    when=(
        "Long answers and rewards of right or wrong, where grpo's entropy falls and many groups are "
        "all right or all wrong."
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class DAPO(Method):
    """Defaults are the paper's. There is no KL term, and so no reference.

    Groups whose rewards are all the same have no advantage. They are left out of updates, so that they neither count in
    the mean over tokens nor cost a forward pass; `spread` in the metrics is the share of groups that stay. Where these
    are fewer than `minibatches`, each makes an update; where there are none, there is no update. `refills` is how often
    the sampler asks further prompts in their place (eq. 11). Spread is that of the whole reward; the paper looks at
    correctness alone.
    """

    learns_from = "rollouts"
    needs_groups = True

    clip_low: float = 0.2
    clip_high: float = 0.28
    epochs: int = 1
    minibatches: int = 16
    refills: int = 9

    def __post_init__(self) -> None:
        check(self, "dapo", at_least_0=("clip_low", "clip_high", "refills"), above_0=("epochs", "minibatches"))

    @torch.no_grad()
    def batches(self, data: Rollout, models: Models, _state: State) -> Iterator[Batch]:
        advantage_B = group_normalised(data.reward_B, data.tokens.prompt_of_B)  # eq. 9
        kept_P = data.spread_P.nonzero().squeeze(1)  # eq. 11: neither all right nor all wrong
        if not len(kept_P):
            return
        batch = Compared(tokens=data.tokens, old_logp_BT=data.logp_BT, advantage_B=advantage_B).take(kept_P)
        yield from batch.updates(self.epochs, min(self.minibatches, len(kept_P)), seed=data.version)

    def loss(self, policy: nn.Module, batch: Compared) -> Loss:
        """Eq. 12: every token of the batch weighs the same; the ratio may rise further than it may fall (eq. 10)."""
        mask_BT = batch.tokens.loss_mask_BT
        logp_BT = policy(batch.tokens).logp_BT
        acted = logp_BT, batch.old_logp_BT, batch.advantage_B[:, None], self.clip_low, self.clip_high
        return Loss(
            terms={"policy": Term(total(clipped_surrogate(*acted), mask_BT), per="tokens")},
            metrics={"clip_fraction": mean_of(is_clipped(*acted).float(), mask_BT)},
        )
