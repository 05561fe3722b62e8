"""Wrong versions of the models that read rules; see test_mutations."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from tercih.algorithms.rule_model import RuleModel
from tercih.batches import Thumbs
from tercih.conformance import rule_model
from tercih.forward import Loss, Term


class Deaf(RuleModel):
    """Reads every answer without its rule: one score for all rules."""

    def loss(self, scorer: nn.Module, batch: Thumbs) -> Loss:
        ids_PS = torch.zeros_like(batch.tokens.prompt_ids_PS)
        return RuleModel.loss(self, scorer, replace(batch, tokens=replace(batch.tokens, prompt_ids_PS=ids_PS)))


class Turned(RuleModel):
    """Takes a rule that is broken for one that is kept."""

    def loss(self, scorer: nn.Module, batch: Thumbs) -> Loss:
        return RuleModel.loss(self, scorer, replace(batch, good_B=1 - batch.good_B))


class Squared(RuleModel):
    """Another method's loss: least squares, whose score is no log odds."""

    def loss(self, scorer: nn.Module, batch: Thumbs) -> Loss:
        loss_B = (scorer(batch.tokens) - batch.good_B) ** 2
        return Loss(terms={"error": Term((batch.weight_B * loss_B).sum(), per="thumbs")}, metrics={})


class Unweighed(RuleModel):
    def loss(self, scorer: nn.Module, batch: Thumbs) -> Loss:
        return RuleModel.loss(self, scorer, replace(batch, weight_B=torch.ones_like(batch.weight_B)))


RULES: dict[str, tuple[Any, dict[str, type[Any]]]] = {
    "rule_model": (
        rule_model.prove,
        {"deaf to the rule": Deaf, "turned": Turned, "least squares": Squared, "without weights": Unweighed},
    ),
}
