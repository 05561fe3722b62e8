"""Rules as a reward source: what a model trained on labels of single rules says of each rule."""

from collections.abc import Sequence

import torch

from tercih.records import Text
from tercih.rewards.learned import LearnedReward
from tercih.rewards.source import Scores


class RuleReward:
    """The chance that an answer keeps each rule, 1 − P(broken), every rule a component of its own name: the rule_k of
    R = r_pref + Σ w_k rule_k (Glaese et al. 2022 †). A judge with `use="all"` says the same of the same rules.

    `rules` are one model, trained by `rule_model`, once for every rule that it shall read.
    """

    def __init__(self, rules: Sequence[LearnedReward]) -> None:
        self.rules = rules

    def score(self, items: Sequence[Text]) -> Scores:
        found = [rule.score(items) for rule in self.rules]
        return Scores(
            names=tuple(name for scores in found for name in scores.names),
            reward_BC=torch.cat([scores.reward_BC for scores in found], 1).sigmoid(),
        )
