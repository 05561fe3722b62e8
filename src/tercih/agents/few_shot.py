"""Few-shot preference learning (Hejna & Sadigh 2022, arXiv:2212.03363): a reward that is ready to be changed by a few
answers, because it was trained to be (MAML, Finn et al. 2017, arXiv:1703.03400).

Suffixes: K tasks, N comparisons of each, M members of the ensemble, B clips, T steps, O and A numbers of an observation
and an action.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import softplus

from tercih.algorithms.bradley_terry import bradley_terry_loss
from tercih.batches import AnyBatch
from tercih.card import Card
from tercih.forward import Loss, Term
from tercih.method import Method, check
from tercih.models.ensemble import RewardEnsemble
from tercih.segments import SegmentPairs, Segments

CARD = Card(
    does="a reward that is ready to be changed by ten answers",
    paper="Hejna & Sadigh 2022",
    link="arXiv:2212.03363",
    family="control from people",
    when=("A new task in a family of tasks that are known: a few answers from a person instead of hundreds."),
)

Weights = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tasks(AnyBatch):
    """Comparisons of `count` tasks, as many of each, one task's after the other: in `support` those that are adapted
    to, in `query` those that are then foreseen. Clips stand as `SegmentPairs.take` puts them."""

    support: SegmentPairs
    query: SegmentPairs
    count: int

    def __post_init__(self) -> None:
        if self.count < 1 or len(self.support) % self.count or len(self.query) % self.count:
            raise ValueError(
                f"{len(self.support)} and {len(self.query)} comparisons are not as many of each of {self.count} tasks"
            )

    @property
    def rows(self) -> int:
        return self.count

    def split(self, rows: int) -> Iterator["Tasks"]:
        if self.rows > rows:
            raise ValueError("tasks are trained on together; set optimisation.micro_rows = 0")
        yield self


class ReadyReward(nn.Module):
    """The weights that every task begins from, and how far each tensor moves in an inner step. A rate begins as `rate`,
    and stays positive."""

    def __init__(self, reward: RewardEnsemble, rate: float = 1e-3) -> None:
        super().__init__()
        self.reward = reward
        rates = torch.full((len(self.names),), rate)
        self.raw_rates = nn.Parameter(rates.expm1().log())

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.reward.named_parameters()]

    @property
    def rates(self) -> Tensor:
        return softplus(self.raw_rates)

    def adapted(self, clips: Segments, target_N3: Tensor, steps: int) -> Weights:
        """θ' after `steps` steps of θ' ← θ' − α ∇ L(θ'), a rate α for every tensor; of one task."""
        weights: Weights = dict(self.reward.named_parameters())
        for _ in range(steps):
            slope = grad(self.mean_loss)(weights, clips, target_N3)
            weights = {
                name: weight - rate * slope[name]
                for (name, weight), rate in zip(weights.items(), self.rates, strict=True)
            }
        return weights

    def mean_loss(self, weights: Weights, clips: Segments, target_N3: Tensor) -> Tensor:
        """Of all members, each of which reads every clip: summed, since they do not share a weight."""
        difference_MN = self.differences(weights, clips)
        target_MN3 = target_N3.expand(len(difference_MN), -1, -1)
        loss_N = bradley_terry_loss(difference_MN.flatten(), target_MN3.flatten(0, 1))
        return loss_N.sum() / len(target_N3)

    def differences(self, weights: Weights, clips: Segments) -> Tensor:
        """By how much each member finds the first of each two clips better, (M, N)."""
        members = self.reward.members
        every = Segments(
            observation_BTO=_repeated(clips.observation_BTO, members),
            action_BTA=_repeated(clips.action_BTA, members),
            mask_BT=_repeated(clips.mask_BT, members),
        )
        score_MN2: Tensor = functional_call(self.reward, dict(weights), (every,)).view(members, -1, 2)
        return score_MN2[..., 0] - score_MN2[..., 1]

    def adapt(self, pairs: SegmentPairs, steps: int) -> RewardEnsemble:
        """A reward of its own for the task that these answers are about."""
        own = copy.deepcopy(self.reward)
        whole = pairs.take(torch.arange(len(pairs)))
        with torch.no_grad():
            weights = self.adapted(whole.items, whole.target_N3, steps)
            for name, weight in own.named_parameters():
                weight.copy_(weights[name])
        return own


@dataclass(frozen=True, kw_only=True, slots=True)
class FewShot(Method):
    """min Σ_tasks L(query; θ'), θ' = `inner_steps` steps on the support. Trains a `ReadyReward`."""

    trains = "reward_model"
    learns_from = "pairs"

    inner_steps: int = 2

    def __post_init__(self) -> None:
        check(self, "few_shot", above_0=("inner_steps",))

    def loss(self, model: nn.Module, batch: Tasks) -> Loss:
        assert isinstance(model, ReadyReward)

        def of_task(support: tuple[Tensor, ...], query: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
            (*clips, target_N3), (*new, asked_N3) = support, query
            weights = model.adapted(_clips(*clips), target_N3, self.inner_steps)
            before_MN = model.differences(dict(model.reward.named_parameters()), _clips(*new))
            return (
                model.mean_loss(weights, _clips(*new), asked_N3),
                _right(before_MN, asked_N3),
                _right(model.differences(weights, _clips(*new)), asked_N3),
            )

        loss_K, before_K, after_K = vmap(of_task)(
            _by_task(batch.support, batch.count), _by_task(batch.query, batch.count)
        )
        tasks = torch.tensor(float(batch.count))
        return Loss(
            terms={"query": Term(loss_K.sum(), per="rows")},
            metrics={
                "accuracy_before": (before_K.detach().sum(), tasks),
                "accuracy": (after_K.detach().sum(), tasks),
                "rate": (model.rates.detach().mean(), torch.tensor(1.0)),
            },
        )


def _repeated(x_B: Tensor, times: int) -> Tensor:
    return x_B.expand(times, *x_B.shape).flatten(0, 1)


def _by_task(pairs: SegmentPairs, count: int) -> tuple[Tensor, ...]:
    clips = pairs.items
    every = (clips.observation_BTO, clips.action_BTA, clips.mask_BT, pairs.target_N3)
    return tuple(x.view(count, -1, *x.shape[1:]) for x in every)


def _clips(observation_BTO: Tensor, action_BTA: Tensor, mask_BT: Tensor) -> Segments:
    return Segments(observation_BTO=observation_BTO, action_BTA=action_BTA, mask_BT=mask_BT)


def _right(difference_MN: Tensor, target_N3: Tensor) -> Tensor:
    return ((difference_MN.mean(0) > 0) == (target_N3[:, 0] > target_N3[:, 1])).to(difference_MN).mean()
