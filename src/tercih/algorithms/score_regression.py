"""Score regression: a reward model that learns the mean of ratings by least squares."""

from dataclasses import dataclass

from torch import Tensor, nn

from tercih.batches import Scored
from tercih.card import Card
from tercih.forward import Loss, Term
from tercih.method import Method
from tercih.ops import mean_of

CARD = Card(
    does="learns the mean of ratings by least squares",
    paper="Legendre 1805",
    link="",
    family="reward models",
    when="People rated single answers and their mean is all that is wanted. Where raters use a scale differently, let"
    " them compare instead: Bradley-Terry needs no scale.",
)


def squared_error(score_B: Tensor, rated_B: Tensor) -> Tensor:
    """(s − r)², shape (B,): its minimum over many ratings is their mean."""
    return (score_B - rated_B) ** 2


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreRegression(Method):
    """Scores are in the units of the ratings: their scale and level are learned, too."""

    trains = "reward_model"
    learns_from = "scored"

    def loss(self, scorer: nn.Module, batch: Scored) -> Loss:
        score_B = scorer(batch.tokens)
        loss_B = squared_error(score_B, batch.score_B)
        return Loss(
            terms={"squared_error": Term((batch.weight_B * loss_B).sum(), per="rows")},
            metrics={"error": mean_of((score_B - batch.score_B).abs())},
        )
