"""Pairwise reward model (Bradley & Terry 1952; Christiano et al. 2017, eq. 1; Stiennon et al. 2020)."""

from dataclasses import dataclass
from math import log, log1p

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from tercih.batches import Pairs
from tercih.card import Card
from tercih.forward import Loss, Term
from tercih.method import Method
from tercih.ops import mean_of
from tercih.segments import SegmentPairs

CARD = Card(
    does="scores whose difference explains who was preferred",
    paper="Bradley & Terry 1952; Christiano et al. 2017",
    link="arXiv:1706.03741",
    family="reward models",
    when=(
        "People compared two answers or clips, and you want a score for any answer: to train on, to "
        "choose the best of n, or to see what they like. With orders of more than two take "
        "plackett_luce."
    ),
)


def bradley_terry_loss(
    difference_N: Tensor, target_N3: Tensor, margin_N: Tensor | float = 0.0, lapse: float = 0.0
) -> Tensor:
    """-log P(target) where P(first better) = σ(difference - margin); a tie counts half for either side.

    `target_N3` may be soft: the cross-entropy to a consensus. The margin (Touvron et al. 2023, eq. 2) asks the
    preferred side to lead by that much. With the probability `lapse` the answer was a fair coin, whatever was compared:
    P becomes (1 - lapse)·P + lapse/2 (Christiano et al. 2017, §2.2.3, with 0.1).
    """
    first_N = target_N3[:, 0] + target_N3[:, 2] / 2
    second_N = target_N3[:, 1] + target_N3[:, 2] / 2
    logp_first_N, logp_second_N = logsigmoid(difference_N - margin_N), logsigmoid(-difference_N - margin_N)
    if lapse:
        guess_N = torch.full_like(difference_N, log(lapse / 2))
        logp_first_N = torch.logaddexp(logp_first_N + log1p(-lapse), guess_N)
        logp_second_N = torch.logaddexp(logp_second_N + log1p(-lapse), guess_N)
    return -first_N * logp_first_N - second_N * logp_second_N


def davidson_loss(difference_N: Tensor, target_N3: Tensor, log_tie: Tensor) -> Tensor:
    """-log P(target) where a tie is an outcome of its own: P ∝ (π_a, π_b, ν sqrt(π_a π_b)) (Davidson 1970, eq. 2.2)."""
    half_N = difference_N / 2
    logp_N3 = torch.stack([half_N, -half_N, log_tie.expand_as(half_N)], dim=1).log_softmax(1)
    return -(target_N3 * logp_N3).sum(1)


@dataclass(frozen=True, kw_only=True, slots=True)
class BradleyTerry(Method):
    """Scores are log-strengths; labels may be hard, soft, tied and weighted by rater (`Pairs`).

    `ties` decides what a tie says: "half" (it counts half for either side) or "davidson" (ν is learned). `lapse` is the
    share of answers that are taken for guesses (with "half"). `centre_coef` pulls the mean of the scores towards zero,
    which the loss alone leaves free.
    """

    trains = "reward_model"
    learns_from = "pairs"

    ties: str = "half"
    lapse: float = 0.0
    centre_coef: float = 0.0

    def __post_init__(self) -> None:
        if self.ties not in ("half", "davidson"):
            raise ValueError(f"bradley_terry.ties must be 'half' or 'davidson', got {self.ties!r}")
        if not 0 <= self.lapse < 1:
            raise ValueError(f"bradley_terry.lapse must be in [0, 1), got {self.lapse}")
        if self.lapse and self.ties == "davidson":
            raise ValueError("bradley_terry.lapse is for ties='half'; Davidson's model has no guesses")
        if not self.centre_coef >= 0:
            raise ValueError(f"bradley_terry.centre_coef must be >= 0, got {self.centre_coef}")

    def loss(self, scorer: nn.Module, batch: Pairs | SegmentPairs) -> Loss:
        score_B = scorer(batch.items)
        first_N, second_N = score_B[batch.first_row_N], score_B[batch.second_row_N]
        difference_N = first_N - second_N
        if self.ties == "davidson":
            if bool((batch.margin_N != 0).any()):
                raise ValueError("bradley_terry.ties='davidson' knows no margins; leave the column out, or ties='half'")
            log_tie = scorer.get_parameter("log_tie")
            loss_N = davidson_loss(difference_N, batch.target_N3, log_tie)
        else:
            loss_N = bradley_terry_loss(difference_N, batch.target_N3, batch.margin_N, self.lapse)
        centre_N = (first_N + second_N) ** 2
        decided_N = batch.target_N3[:, 0] != batch.target_N3[:, 1]
        right_N = difference_N.sign() == (batch.target_N3[:, 0] - batch.target_N3[:, 1]).sign()
        return Loss(
            terms={
                "preference": Term((batch.weight_N * loss_N).sum(), per="comparisons"),
                "centre": Term((batch.weight_N * centre_N).sum(), per="comparisons", weight=self.centre_coef),
            },
            metrics={
                "accuracy": mean_of(right_N.float(), decided_N),
                "score": mean_of(score_B),
                "score_difference": mean_of(difference_N.abs()),
            },
        )
