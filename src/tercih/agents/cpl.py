"""Contrastive preference learning (Hejna et al. 2024, arXiv:2310.13639): a policy straight from compared clips.

People are taken to prefer the clip with the smaller regret. In maximum-entropy RL the optimal advantage is α log π*, so
the discounted log-probabilities of a clip's actions stand where a reward's sum would.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from tercih.agents.offline import logp_of
from tercih.batches import AnyBatch
from tercih.card import Card
from tercih.forward import Loss, Models, Term
from tercih.method import Method, State, check
from tercih.ops import mean_of
from tercih.segments import SegmentPairs, Segments

CARD = Card(
    does="the optimum of regret, straight from clips",
    paper="Hejna et al. 2024",
    link="arXiv:2310.13639",
    family="control from people",
    when="An agent that learns from answers about clips alone, offline: no reward model, no acting.",
)


def cpl_loss(advantage_B: Tensor, first_N: Tensor, second_N: Tensor, target_N3: Tensor, lam: float) -> Tensor:
    """−log σ(A⁺ − λ A⁻) (eq. 6), where A = Σ_t γ^t α log π(a_t|s_t); a tie counts half for either side."""
    a_N, b_N = advantage_B[first_N], advantage_B[second_N]
    first_better_N = target_N3[:, 0] + target_N3[:, 2] / 2
    second_better_N = target_N3[:, 1] + target_N3[:, 2] / 2
    return -first_better_N * logsigmoid(a_N - lam * b_N) - second_better_N * logsigmoid(b_N - lam * a_N)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown(AnyBatch):
    """Clips to be imitated, whoever won."""

    items: Segments

    @property
    def rows(self) -> int:
        return self.items.rows

    def units(self) -> dict[str, Tensor]:
        return {"steps": self.items.mask_BT.sum()}

    def split(self, rows: int) -> Iterator["Shown"]:
        for start in range(0, self.rows, rows):
            yield Shown(items=self.items.take(slice(start, start + rows)))


@dataclass(frozen=True, kw_only=True, slots=True)
class CPL(Method):
    """`pretraining` steps imitate all clips, of which the rest then learns what sets the better ones apart.

    `lam` < 1 lets the worse clip count for less, so that no policy wins by leaving the clips altogether. Trains an
    `ActorCritic` (its critic stays as it is), which should have observed the clips' observations. The paper's α and λ.
    """

    learns_from = "pairs"

    alpha: float = 0.1
    lam: float = 0.5
    gamma: float = 1.0
    pretraining: int = 0

    def __post_init__(self) -> None:
        check(self, "cpl", at_least_0=("lam", "pretraining"), above_0=("alpha",))
        if not self.lam <= 1:
            raise ValueError(f"cpl.lam must be in [0, 1], got {self.lam}")
        if not 0 < self.gamma <= 1:
            raise ValueError(f"cpl.gamma must be in (0, 1], got {self.gamma}")

    def init(self, models: Models) -> State:
        return {"step": 0}

    def batches(self, data: SegmentPairs, models: Models, state: State) -> Iterator[AnyBatch]:
        yield Shown(items=data.items) if state["step"] < self.pretraining else data

    def loss(self, policy: nn.Module, batch: SegmentPairs | Shown) -> Loss:
        logp_BT = logp_of(policy, batch.items)
        if isinstance(batch, Shown):
            return Loss(terms={"cloning": Term(-logp_BT.sum(), per="steps")}, metrics={})
        discount_T = self.gamma ** torch.arange(logp_BT.shape[1], device=logp_BT.device)
        advantage_B = self.alpha * (discount_T * logp_BT).sum(1)
        first_N, second_N, target_N3 = batch.first_row_N, batch.second_row_N, batch.target_N3
        loss_N = cpl_loss(advantage_B, first_N, second_N, target_N3, self.lam)
        decided_N = target_N3[:, 0] != target_N3[:, 1]
        right_N = (advantage_B[first_N] > advantage_B[second_N]) == (target_N3[:, 0] > target_N3[:, 1])
        return Loss(
            terms={"preference": Term((batch.weight_N * loss_N).sum(), per="comparisons")},
            metrics={"accuracy": mean_of(right_N.float(), decided_N), "advantage": mean_of(advantage_B)},
        )

    def after(self, state: State, data: Any, metrics: Mapping[str, float]) -> State:
        return {"step": state["step"] + 1}
