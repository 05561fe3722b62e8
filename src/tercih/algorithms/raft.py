"""RAFT: sample, keep the best, imitate it, and again (Dong et al. 2023, arXiv:2304.06767); one round of it is best-of-n
distillation."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tercih.batches import Rollout, Scored
from tercih.card import Card
from tercih.families import WeightedMLE, scored
from tercih.forward import Models
from tercih.method import State, check
from tercih.ops import best_of_group, best_share

CARD = Card(
    does="imitates the best of what the policy has just sampled",
    paper="Dong et al. 2023",
    link="arXiv:2304.06767",
    family="select, weight, condition",
    when="You have a reward and want nothing that can diverge: rounds of best-of-K, in weights. Nothing holds it near"
    " the reference, so stop after few rounds; for a known trade against KL take PPO or RLOO.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class RAFT(WeightedMLE):
    """A rollout is a round: its best responses are imitated for `epochs` walks, in `minibatches` each.

    Kept is the best response to every prompt (the paper's, "local" in LMFlow), or, with `fraction`, that
    share of the whole rollout, whatever the prompt ("top" there, where it is 0.2 unless said otherwise). After m rounds
    of the best of K, each fitted exactly, the policy is the best of K^m. The paper fits two epochs †,
    LMFlow's script four.
    """

    learns_from = "rollouts"
    needs_groups = True

    fraction: float | None = None
    epochs: int = 2
    minibatches: int = 1

    def __post_init__(self) -> None:
        check(self, "raft", above_0=("epochs", "minibatches"))
        if self.fraction is not None and not 0 < self.fraction < 1:
            raise ValueError(
                f"raft.fraction must be in (0, 1), or None for the best of every prompt, got {self.fraction}"
            )

    def weight(self, data: Scored) -> Tensor:
        if self.fraction is None:
            return best_of_group(data.score_B, data.tokens.prompt_of_B).to(data.weight_B)
        return best_share(data.score_B, data.weight_B, self.fraction).to(data.weight_B)

    @torch.no_grad()
    def batches(self, data: Rollout, models: Models, state: State) -> Iterator[Scored]:  # type: ignore[override]
        for batch in WeightedMLE.batches(self, scored(data), models, state):
            yield from batch.updates(self.epochs, min(self.minibatches, batch.tokens.prompts), seed=data.version)
