"""Proof of few-shot preference learning: a point mass whose goal is another in every task, and ten answers about it."""

from dataclasses import dataclass
from statistics import mean
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import logsigmoid

from tercih.agents.few_shot import FewShot, ReadyReward, Tasks
from tercih.algorithms.bradley_terry import BradleyTerry
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.lab import Lab, generator
from tercih.conformance.tables import Box
from tercih.data.labelled_clips import Drawn, shuffled
from tercih.forward import Models
from tercih.models.ensemble import RewardEnsemble
from tercih.optimisation import Optimisation
from tercih.segments import SegmentPairs, Segments
from tercih.train import fit

LENGTH, MEMBERS, IRRELEVANT = 3, 1, 8
FEW, MANY, INNER = 10, 200, 2


def prove(lab: Lab, method: type[FewShot] = FewShot) -> Findings:
    steps, several = lab.of(quick=(100, 4), full=(400, 12))
    key = (lab.seed, 0)
    model, control = (ready(steps, key, method(), lose=lose) for lose in (False, True))
    few, before, lost = (
        [adapted(each, at, key, inner) for at in range(several)]
        for each, inner in ((model, INNER), (model, 0), (control, INNER))
    )
    short, many = ([scratch(at, labels, key) for at in range(several)] for labels in (FEW, MANY))
    return Findings(
        identity=at_most("gradient through two inner steps − by plain loops", loop_difference(key, method()), 1e-9),
        ordering=every(
            above_zero(
                f"accuracy after {FEW} answers − that of {FEW} from nothing, tasks for seeds",
                [a - b for a, b in zip(few, short, strict=True)],
            ),
            at_least(f"the same − that of {MANY} from nothing, mean", mean(few) - mean(many), -0.05),
        ),
        negative_control=at_most(
            f"accuracy after {FEW} answers, made ready on shuffled ones",
            mean(lost),
            0.7,
            f"{mean(few):.3g} on real ones",
        ),
        ablation=at_least("accuracy after adapting − before, mean", mean(few) - mean(before), 0.2),
    )


def clips(count: int, dice: torch.Generator) -> tuple[Tensor, Tensor]:
    """What is seen of a mass that begins anywhere, and the pushes that it gets at random: (count, T, O), (count, T, 2).
    Besides its place and speed there are numbers that no goal has anything to do with."""
    place_B2, speed_B2 = 2 * torch.rand(count, 2, generator=dice) - 1, torch.zeros(count, 2)
    seen, pushed = [], []
    noise_BO = torch.randn(count, IRRELEVANT, generator=dice)
    wish_B2 = torch.randn(count, 2, generator=dice)
    for _ in range(LENGTH):
        push_B2 = (wish_B2 + torch.randn(count, 2, generator=dice)).clamp(-1, 1)
        seen.append(torch.cat([place_B2, speed_B2, noise_BO], 1))
        pushed.append(push_B2)
        speed_B2 = 0.8 * speed_B2 + 0.1 * push_B2
        place_B2 = place_B2 + speed_B2
    return torch.stack(seen, 1), torch.stack(pushed, 1)


def tasks(count: int, labels: int, key: tuple[int, ...]) -> SegmentPairs:
    """`labels` answers about each of so many goals on a circle, by who sees which clip keeps nearer to it."""
    dice = generator(*key)
    angle_K = 2 * torch.pi * torch.rand(count, generator=dice)
    goal_K2 = 3 * torch.stack([angle_K.cos(), angle_K.sin()], 1)
    seen_BTO, pushed_BT2 = clips(2 * count * labels, dice)
    away_BT = (seen_BTO[..., :2] - goal_K2.repeat_interleave(2 * labels, 0)[:, None]).norm(dim=-1)
    score_N2 = -away_BT.sum(1).view(-1, 2)
    first_N = (score_N2[:, 0] > score_N2[:, 1]).float()
    row_N = torch.arange(0, len(seen_BTO), 2)
    return SegmentPairs(
        items=Segments(
            observation_BTO=seen_BTO, action_BTA=pushed_BT2, mask_BT=torch.ones(seen_BTO.shape[:2], dtype=torch.bool)
        ),
        first_row_N=row_N,
        second_row_N=row_N + 1,
        target_N3=torch.stack([first_N, 1 - first_N, torch.zeros_like(first_N)], 1),
        weight_N=torch.ones_like(first_N),
        margin_N=torch.zeros_like(first_N),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """Batches of tasks, each step other ones."""

    steps: int
    key: tuple[int, ...]
    count: int = 8
    labels: int = 10
    lose: bool = False

    def __call__(self, step: int) -> Tasks:
        both = tasks(self.count, 2 * self.labels, (*self.key, 10, step))
        if self.lose:
            both = shuffled(both, step)
        half_N = torch.arange(len(both)) % (2 * self.labels) < self.labels
        support, query = (both.take(half.nonzero().squeeze(1)) for half in (half_N, ~half_N))
        return Tasks(support=support, query=query, count=self.count)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert not state


def ready(steps: int, key: tuple[int, ...], method: FewShot, lose: bool = False) -> ReadyReward:
    model = ReadyReward(reward(key[-1]), rate=0.1)
    fit(method, Models(policy=model), Family(steps=steps, key=key, lose=lose), Optimisation(lr=1e-2))
    return model


def reward(seed: int) -> RewardEnsemble:
    return RewardEnsemble(Box.of(4 + IRRELEVANT), Box.of(2, 1.0), members=MEMBERS, hidden=(32, 32), seed=seed)


def accuracy(scorer: RewardEnsemble, held: SegmentPairs) -> float:
    with torch.no_grad():
        score_N2 = scorer.every(held.items).mean(0).view(-1, 2)
    return float(((score_N2[:, 0] > score_N2[:, 1]) == (held.target_N3[:, 0] > 0.5)).double().mean())


def one_task(at: int, labels: int, key: tuple[int, ...]) -> tuple[SegmentPairs, SegmentPairs]:
    whole = tasks(1, labels + 500, (*key, 20, at))
    return whole.take(torch.arange(labels)), whole.take(torch.arange(labels, labels + 500))


def scratch(at: int, labels: int, key: tuple[int, ...], steps: int = 100) -> float:
    pairs, held = one_task(at, labels, key)
    scorer = reward(at)
    data = Drawn(pairs=pairs, steps=steps, batch=32, members=MEMBERS, seed=at)
    fit(BradleyTerry(), Models(policy=scorer), data, Optimisation(lr=3e-3, weight_decay=1e-2))
    return accuracy(scorer, held)


def adapted(model: ReadyReward, at: int, key: tuple[int, ...], inner: int) -> float:
    pairs, held = one_task(at, FEW, key)
    return accuracy(model.adapt(pairs, inner), held)


def loop_difference(key: tuple[int, ...], method: FewShot) -> float:
    """Of the loss at the weights and rates: task by task, every inner step written out, with the whole graph kept."""
    model = ReadyReward(reward(key[-1]), rate=0.1).double()
    batch = Family(steps=1, key=key, count=2, labels=4)(0)
    found = torch.autograd.grad(method.loss(model, batch).terms["query"].sum, list(model.parameters()))
    names, total = model.names, torch.zeros((), dtype=torch.float64)
    for k in range(batch.count):
        support, query = (part.take(torch.arange(4) + 4 * k) for part in (batch.support, batch.query))
        weights: list[Tensor] = [model.reward.get_parameter(name) for name in names]

        def loss(pairs: SegmentPairs, weights: list[Tensor]) -> Tensor:
            score_B = functional_call(model.reward, dict(zip(names, weights, strict=True)), (pairs.items,))
            margin_N = (score_B[0::2] - score_B[1::2]) * (pairs.target_N3[:, 0] - pairs.target_N3[:, 1])
            return -logsigmoid(margin_N).mean()

        for _ in range(2):
            slopes = torch.autograd.grad(loss(support, weights), weights, create_graph=True)
            weights = [w - rate * g for w, rate, g in zip(weights, model.rates, slopes, strict=True)]
        total = total + loss(query, weights)
    expected = torch.autograd.grad(total, list(model.parameters()))
    return max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))
