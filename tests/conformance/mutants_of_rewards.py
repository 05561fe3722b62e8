"""Wrong judges and wrong ensembles; see test_mutations."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tercih.algorithms.binned_regression import BinnedRegression, two_bins
from tercih.algorithms.process_reward import ProcessReward
from tercih.algorithms.score_regression import ScoreRegression
from tercih.batches import Scored, Thumbs
from tercih.conformance import binned_regression, judge, process_reward, reward_ensemble, score_regression
from tercih.forward import Loss, Term
from tercih.records import Text
from tercih.rewards.ensemble import RULES
from tercih.rewards.judge import Judge, Verdict


class OneOrder(Judge):
    def better(self, pairs: Sequence[tuple[Text, Text]]) -> list[Verdict]:
        return Judge.better(replace(self, both_orders=False), pairs)


class Sure(Judge):
    """Hard labels."""

    def better(self, pairs: Sequence[tuple[Text, Text]]) -> list[Verdict]:
        return [replace(v, chance=float((v.chance or 0.0) > 0.5)) for v in Judge.better(self, pairs)]


class Unprincipled(Judge):
    """Asks what it always asks."""

    def better(self, pairs: Sequence[tuple[Text, Text]]) -> list[Verdict]:
        return Judge.better(replace(self, principles={"rule": judge.MORE}), pairs)


class Unturned(Judge):
    """Forgets that the second order is turned round."""

    def better(self, pairs: Sequence[tuple[Text, Text]]) -> list[Verdict]:
        return [replace(v, chance=0.5 + (v.lean or 0.0)) for v in Judge.better(self, pairs)]


def fitted(kind: type[Any], cost: Callable[[Any, nn.Module, Scored], Tensor]) -> type[Any]:
    """What it costs to rate a row so is something else."""

    class Replaced(kind):  # type: ignore[misc]
        def loss(self, scorer: nn.Module, batch: Scored) -> Loss:
            loss_B = cost(self, scorer, batch)
            return Loss(terms={"cost": Term((batch.weight_B * loss_B).sum(), per="rows")}, metrics={})

    return Replaced


def absolute(method: Any, scorer: nn.Module, batch: Scored) -> Tensor:
    """Whose best score is a median."""
    return (scorer(batch.tokens) - batch.score_B).abs()


def of_the_mean(method: Any, scorer: nn.Module, batch: Scored) -> Tensor:
    """Least squares of the bins' mean: any bins with that mean will do."""
    return (scorer(batch.tokens) - batch.score_B) ** 2


def of_chances(method: Any, scorer: nn.Module, batch: Scored) -> Tensor:
    """The chance of the rating itself, and not its logarithm."""
    target_BK = two_bins(batch.score_B, torch.tensor(method.centres, dtype=torch.float64))
    return -(target_BK * scorer(batch.tokens, by_bin=True).exp()).sum(1)


def turned(method: Any, scorer: nn.Module, batch: Scored) -> Tensor:
    return (scorer(batch.tokens) + batch.score_B) ** 2


def unweighed(method: Any, scorer: nn.Module, batch: Scored) -> Tensor:
    return (scorer(batch.tokens) - batch.score_B) ** 2 / batch.weight_B.clamp(min=1e-6)


class Contrary(ProcessReward):
    """Takes right steps for wrong ones."""

    def loss(self, scorer: nn.Module, batch: Thumbs) -> Loss:
        return ProcessReward.loss(self, scorer, replace(batch, good_B=1 - batch.good_B))


class Brier(ProcessReward):
    """Squared error of the score itself, which is no chance."""

    def loss(self, scorer: nn.Module, batch: Thumbs) -> Loss:
        loss_B = (scorer(batch.tokens) - batch.good_B) ** 2
        return Loss(terms={"error": Term((batch.weight_B * loss_B).sum(), per="thumbs")}, metrics={})


class Hard(ProcessReward):
    """Rounds what raters do not agree on."""

    def loss(self, scorer: nn.Module, batch: Thumbs) -> Loss:
        return ProcessReward.loss(self, scorer, replace(batch, good_B=batch.good_B.round()))


def best(score_MB: Tensor, doubt: float) -> Tensor:
    return score_MB.amax(0)


def hopeful(score_MB: Tensor, doubt: float) -> Tensor:
    return score_MB.mean(0) + doubt * score_MB.var(0, unbiased=False)


def of_a_sample(score_MB: Tensor, doubt: float) -> Tensor:
    return score_MB.mean(0) - doubt * score_MB.var(0)


REWARDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "binned_regression": (
        binned_regression.prove,
        {"of the mean": fitted(BinnedRegression, of_the_mean), "of chances": fitted(BinnedRegression, of_chances)},
    ),
    "score_regression": (
        score_regression.prove,
        {
            "absolute": fitted(ScoreRegression, absolute),
            "turned around": fitted(ScoreRegression, turned),
            "unweighed": fitted(ScoreRegression, unweighed),
        },
    ),
    "process_reward": (process_reward.prove, {"contrary": Contrary, "score as chance": Brier, "rounded": Hard}),
    "judge": (
        judge.prove,
        {"one order": OneOrder, "hard labels": Sure, "no constitution": Unprincipled, "orders not turned": Unturned},
    ),
    "reward_ensemble": (
        reward_ensemble.prove,
        {
            "the best of them": RULES | {"worst": best},
            "doubt turned round": RULES | {"variance": hopeful},
            "variance of a sample": RULES | {"variance": of_a_sample},
            "one for all": RULES | {"worst": RULES["mean"]},
        },
    ),
}
