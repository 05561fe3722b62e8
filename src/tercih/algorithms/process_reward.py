"""Process reward: a reward model that says of every step of a chain of thought whether it is right (Uesato et al. 2022,
arXiv:2211.14275; Lightman et al. 2023, "Let's verify step by step", arXiv:2305.20050)."""

from dataclasses import dataclass

from torch import nn

from tercih.batches import Thumbs
from tercih.card import Card
from tercih.forward import Loss, Term
from tercih.method import Method
from tercih.ops import logistic_loss, mean_of

CARD = Card(
    does="says of every step of a chain of thought whether it is right",
    paper="Lightman et al. 2023",
    link="arXiv:2305.20050",
    family="reward models",
    when="Answers are chains of steps and somebody labelled the steps. With a thumb for the whole answer alone the same"
    " method is an outcome reward model, which needs more answers to learn as much.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessReward(Method):
    """σ(score) is the chance that a chain is right up to where it was read: each step that was labelled is a row, the
    answer up to its end. Of thumbs on whole answers it learns an outcome reward model. Ratings in between are soft
    labels."""

    trains = "reward_model"
    learns_from = "thumbs"

    def loss(self, scorer: nn.Module, batch: Thumbs) -> Loss:
        score_B = scorer(batch.tokens)
        loss_B = logistic_loss(score_B, batch.good_B)
        decided_B = batch.good_B != 0.5
        return Loss(
            terms={"cross_entropy": Term((batch.weight_B * loss_B).sum(), per="thumbs")},
            metrics={"accuracy": mean_of(((score_B > 0) == (batch.good_B > 0.5)).float(), decided_B)},
        )
