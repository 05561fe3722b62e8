"""Rule model: one reward model for all rules, which reads a rule before the answer and says whether that breaks it
(Glaese et al. 2022, "Sparrow", arXiv:2209.14375)."""

from dataclasses import dataclass

from torch import Tensor, nn

from tercih.batches import Thumbs
from tercih.card import Card
from tercih.forward import Loss, Term
from tercih.method import Method
from tercih.ops import logistic_loss, mean_of

CARD = Card(
    does="reads a rule's text and says whether an answer breaks it: one scorer for all rules",
    paper="Glaese et al. 2022",
    link="arXiv:2209.14375",
    family="reward models",
    when="People said of single answers whether they break single rules, one rule at a time. Beside a reward model of"
    " preferences it says which rule was broken, and each rule has a weight of its own. Where nobody labelled rules, a"
    " judge reads them as they are.",
)


def chance_broken(score_B: Tensor) -> Tensor:
    """P(rule is broken | rule, prompt, answer) = σ(−s), shape (B,): scores are higher where the rule is kept."""
    return (-score_B).sigmoid()


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleModel(Method):
    """Cross-entropy on labels of one rule each; `good_B` is the chance that the row's rule is kept. The rule's text
    stands in the prompt (`data.collate.rule_labels`), so that what is learned of one rule can serve another that is
    worded alike, and rules that no label names can be asked about."""

    trains = "reward_model"
    learns_from = "rules"

    def loss(self, scorer: nn.Module, batch: Thumbs) -> Loss:
        score_B = scorer(batch.tokens)
        loss_B = logistic_loss(score_B, batch.good_B)
        said_B = batch.good_B != 0.5  # who was not sure can be agreed with neither way
        right_B = (chance_broken(score_B) < 0.5) == (batch.good_B > 0.5)
        return Loss(
            terms={"cross_entropy": Term((batch.weight_B * loss_B).sum(), per="thumbs")},
            metrics={"accuracy": mean_of(right_B.float(), said_B), "broken": mean_of(1 - batch.good_B)},
        )
