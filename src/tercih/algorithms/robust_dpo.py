"""Robust DPO: of labels that are turned around at a known rate, the loss of those that are not (Chowdhury et al. 2024,
arXiv:2403.00409, eq. 12)."""

from dataclasses import dataclass

from torch import Tensor

from tercih.card import Card
from tercih.families import ImpliedReward
from tercih.ops import logistic_loss

CARD = Card(
    does="of labels wrong at a known rate, what clean ones would have taught",
    paper="Chowdhury et al. 2024",
    link="arXiv:2403.00409",
    family="direct preference losses",
    when=(
        "Pairs of whose labels you know, or can measure, how many are wrong: the feedback store tells a rater's error."
    ),
)


def robust_loss(difference_N: Tensor, chance_N: Tensor, flipped: float) -> Tensor:
    """((1 − ε) L(label) − ε L(its opposite)) / (1 − 2ε): its mean over labels that were turned around with the chance ε
    is L of what they were (§3.2). It is not bounded from below, and far more spread than L where ε is near a half."""
    as_said_N, opposite_N = logistic_loss(difference_N, chance_N), logistic_loss(difference_N, 1 - chance_N)
    return ((1 - flipped) * as_said_N - flipped * opposite_N) / (1 - 2 * flipped)


@dataclass(frozen=True, kw_only=True, slots=True)
class RobustDPO(ImpliedReward):
    """`flipped` is the rate ε, to be known or guessed. The default is a rate of the paper's experiments (§6)."""

    flipped: float = 0.1

    def __post_init__(self) -> None:
        ImpliedReward.__post_init__(self)
        if not 0 <= self.flipped < 0.5:
            raise ValueError(f"robust_dpo.flipped must be in [0, 0.5), got {self.flipped}")

    def compared(self, difference_N: Tensor, chance_N: Tensor) -> Tensor:
        return robust_loss(difference_N, chance_N, self.flipped)
