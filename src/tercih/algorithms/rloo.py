"""RLOO: REINFORCE on whole responses, each compared with the others to its prompt (Ahmadian et al. 2024,
arXiv:2402.14740; the baseline is Kool et al. 2019's)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tercih.batches import Batch, Compared, Rollout
from tercih.card import Card
from tercih.families import penalised, score_function
from tercih.forward import Loss, Models
from tercih.method import Method, State, check
from tercih.ops import mean_of_others

CARD = Card(
    does="REINFORCE with the other answers to a prompt as the baseline",
    paper="Ahmadian et al. 2024",
    link="arXiv:2402.14740",
    family="policy gradients",
    when=(
        "What ppo is for, without a critic, a ratio or a clip: the least that works on a reward, with "
        "several answers to every prompt. One update a rollout."
    ),
)


def rloo_advantage(reward_B: Tensor, prompt_of_B: Tensor) -> Tensor:
    """R(y_i) − 1/(K−1) Σ_{j≠i} R(y_j), shape (B,): a baseline that does not depend on y_i biases nothing."""
    return reward_B - mean_of_others(reward_B, prompt_of_B)


@dataclass(frozen=True, kw_only=True, slots=True)
class RLOO(Method):
    """A response is one action, and a rollout one update: no critic, no ratio, no clip. The KL to the reference is part
    of the reward, so that the optimum is π0 exp(r/β). The default is the paper's β for TL;DR.
    """

    learns_from = "rollouts"
    needs_groups = True

    kl_coef: float = 0.03

    def __post_init__(self) -> None:
        check(self, "rloo", at_least_0=("kl_coef",))

    @property
    def needs_reference(self) -> bool:
        return self.kl_coef > 0

    @torch.no_grad()
    def batches(self, data: Rollout, models: Models, _state: State) -> Iterator[Batch]:
        batch = penalised(data, models, self.kl_coef)  # R = r − β log(π/π0), of the whole response
        yield replace(batch, advantage_B=rloo_advantage(batch.advantage_B, batch.tokens.prompt_of_B))

    def loss(self, policy: nn.Module, batch: Compared) -> Loss:
        return score_function(policy, batch)
