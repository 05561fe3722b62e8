"""Online DPO: pairs that the policy itself has just written (Guo et al. 2024, arXiv:2402.04792)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tercih.batches import Pairs, Rollout
from tercih.card import Card
from tercih.families import ImpliedReward, with_reference
from tercih.forward import Models
from tercih.method import State
from tercih.ops import group_size, logistic_loss

CARD = Card(
    does="DPO on pairs that the policy has just written",
    paper="Guo et al. 2024",
    link="arXiv:2402.04792",
    family="direct preference losses",
    when=(
        "A reward, a judge or a rule that can be asked about new answers: dpo without stale pairs, "
        "reinforcement learning without a critic."
    ),
)


def pairs_of(prompt_of_B: Tensor) -> Tensor:
    """Rows of every two responses to one prompt, shape (N, 2)."""
    row_N2 = torch.combinations(torch.arange(len(prompt_of_B), device=prompt_of_B.device))
    return row_N2[prompt_of_B[row_N2[:, 0]] == prompt_of_B[row_N2[:, 1]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class OnlineDPO(ImpliedReward):
    """DPO's loss on what the rewards say of responses to one prompt; every prompt weighs the same. The paper has two of
    them and one annotator's choice: the better reward wins, equal ones tie. With `soft` rewards are log-strengths, and
    labels their probabilities. The default β is DPO's."""

    learns_from = "rollouts"
    needs_groups = True

    soft: bool = False

    @torch.no_grad()
    def batches(self, data: Rollout, models: Models, _state: State) -> Iterator[Pairs]:
        prompt_of_B = data.tokens.prompt_of_B
        first_N, second_N = pairs_of(prompt_of_B).unbind(1)
        lead_N = data.reward_B[first_N] - data.reward_B[second_N]
        chance_N = torch.sigmoid(lead_N) if self.soft else (lead_N.sign() + 1) / 2
        pairs_B = (group_size(prompt_of_B) * (group_size(prompt_of_B) - 1)) / 2
        yield with_reference(Pairs(
            tokens=data.tokens, first_row_N=first_N, second_row_N=second_N,
            target_N3=torch.stack([chance_N, 1 - chance_N, torch.zeros_like(chance_N)], 1),
            weight_N=1 / pairs_B[first_N].to(chance_N), margin_N=torch.zeros_like(chance_N),
        ), models)  # fmt: skip

    def compared(self, difference_N: Tensor, chance_N: Tensor) -> Tensor:
        return logistic_loss(difference_N, chance_N)
