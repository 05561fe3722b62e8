"""Nash-MD: a policy that no other is preferred to, whatever people's preferences are like (Munos et al. 2023,
arXiv:2312.00886).

Preferences need not come from scores: where one answer beats a second, that one a third, and the third the first, no
reward says so. What is looked for is the equilibrium of a game between two policies, each paying τ KL to stay near π0.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tercih.batches import Batch, Compared, Rollout
from tercih.card import Card
from tercih.families import penalised, score_function
from tercih.forward import Loss, Models
from tercih.method import Method, State, check

CARD = Card(
    does="is preferred to its rivals, where no reward could say what is best",
    paper="Munos et al. 2023",
    link="arXiv:2312.00886",
    family="policy gradients",
    when="Preferences are of pairs and may run in circles: a judge that compares two answers, or raters of several"
    " minds. Where a reward model explains them, RLOO or PPO on it are simpler, and less noisy.",
)


def nash_md_advantage(penalised_B: Tensor) -> Tensor:
    """P(y ≻ y') − τ log(π/π0) − ½: what an even match would give is a baseline that biases nothing. Shape (B,)."""
    return penalised_B - 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class NashMD(Method):
    """The rollout's rewards are the chances that its answers are preferred to a rival's. The rival answers from
    π^(1−m) π0^m, a mixture that is taken at every token (`models/mixture.py`): with m = 0 it is the policy itself
    (self-play), whose fixed point is the equilibrium; with 1 the reference, which is no game any more. `mixture` and
    `tau` are the paper's for summaries.
    """

    learns_from = "rollouts"
    needs_reference = True
    needs_rival = True

    tau: float = 0.008
    mixture: float = 0.125

    def __post_init__(self) -> None:
        check(self, "nash_md", above_0=("tau",))
        if not 0 <= self.mixture <= 1:
            raise ValueError(f"nash_md.mixture must be in [0, 1], got {self.mixture}")

    @torch.no_grad()
    def batches(self, data: Rollout, models: Models, _state: State) -> Iterator[Batch]:
        batch = penalised(data, models, self.tau)
        yield replace(batch, advantage_B=nash_md_advantage(batch.advantage_B))

    def loss(self, policy: nn.Module, batch: Compared) -> Loss:
        """Its gradient is that of P(π ≻ π') − τ KL(π‖π0), the rival held fixed (Nash-MD-PG)."""
        return score_function(policy, batch)
