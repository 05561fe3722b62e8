"""Several reward models as one (Coste et al. 2023, "Reward model ensembles help mitigate overoptimization",
arXiv:2310.02743): where they disagree, nobody knows, and a policy that is paid for it will go there."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from tercih.card import Card
from tercih.records import Text
from tercih.rewards.learned import LearnedReward
from tercih.rewards.source import Scores

CARD = Card(
    does="several reward models as one, that doubts what they disagree on",
    paper="Coste et al. 2023",
    link="arXiv:2310.02743",
    family="reward models",
    when="A policy is going to be pushed far against a learned reward. Takes as many reward models, of other seeds or"
    " labels, as there is memory for; one model trained longer knows no more about what it does not know.",
    command="tercih train ppo --reward FOLDER FOLDER --rewards.ensemble worst",
)


class Rule(Protocol):
    def __call__(self, score_MB: Tensor, doubt: float) -> Tensor:
        """What M members' scores of every response come to, shape (B,)."""


def mean(score_MB: Tensor, doubt: float = 0.0) -> Tensor:
    """Eq. 3."""
    return score_MB.mean(0)


def worst(score_MB: Tensor, doubt: float = 0.0) -> Tensor:
    """Worst-case optimisation: the lowest of the members (eq. 4)."""
    return score_MB.amin(0)


def by_variance(score_MB: Tensor, doubt: float) -> Tensor:
    """Uncertainty-weighted optimisation: mean − λ · variance within the ensemble (eq. 5)."""
    return score_MB.mean(0) - doubt * score_MB.var(0, unbiased=False)


def by_deviation(score_MB: Tensor, doubt: float) -> Tensor:
    """A lower confidence bound: mean − λ · standard deviation. λ is how many of them one does not believe."""
    return score_MB.mean(0) - doubt * score_MB.var(0, unbiased=False).sqrt()


RULES: dict[str, Rule] = {
    "mean": mean, "worst": worst, "variance": by_variance, "deviation": by_deviation,
}  # fmt: skip


def aggregate(score_MB: Tensor, rule: str, doubt: float = 0.0) -> Tensor:
    """Shape (B,)."""
    return RULES[rule](score_MB, doubt)


class EnsembleReward:
    """One component, `ensemble`, from the scores of its members.

    The lowest of several scores, and their variance, mean something only on one scale: call `normalise` with responses
    of the reference first, or give members that were normalised.
    """

    def __init__(self, members: Sequence[LearnedReward], *, rule: str = "worst", doubt: float = 0.0) -> None:
        if len(members) < 2:
            raise ValueError(f"an ensemble needs at least two reward models, got {len(members)}")
        if rule not in RULES:
            raise ValueError(f"ensemble.rule must be one of {', '.join(RULES)}, got {rule!r}")
        if not doubt >= 0:
            raise ValueError(f"ensemble.doubt must be >= 0, got {doubt}")
        self.members, self.rule, self.doubt = list(members), rule, doubt

    def normalise(self, items: Sequence[Text]) -> None:
        """Every member's scores of these get mean 0 and variance 1."""
        for member in self.members:
            member.normalise(items)

    def score(self, items: Sequence[Text]) -> Scores:
        score_MB = torch.stack([member.score(items).reward_BC[:, 0] for member in self.members])
        return Scores(names=("ensemble",), reward_BC=aggregate(score_MB, self.rule, self.doubt)[:, None])
