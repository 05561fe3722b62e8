"""Proof of an AI judge: its labels are what it says without its liking for a position, and its constitution decides.

The judge is scripted: it reads letters and options off what it is asked, as a language model would, knows the world's
true reward, obeys the principle, and has a liking for what is shown first.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from tercih.algorithms.bradley_terry import BradleyTerry, bradley_terry_loss
from tercih.batches import Pairs
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.lab import Always, Lab, World, train
from tercih.conformance.labels import one_prompt
from tercih.data.collate import as_consensus
from tercih.forward import Models
from tercih.records import Text
from tercih.rewards.judge import Judge, Reply, Turns, Verdict, comparison

MORE, LESS = "Which one has more of it?", "Which one has less of it?"
LEAN = 0.2
SHOWN = re.compile(r"\(A\) (\d+)\n\n\(B\) (\d+)")


@dataclass(frozen=True)
class Scripted:
    """P(first letter) = (1 − 2·lean)·σ(±(r − r')) + 2·lean: `lean` above a half where it cannot tell them apart."""

    reward: Sequence[float]
    lean: float = LEAN
    name: str = "scripted"

    def letters(self, asked: Sequence[Turns], letters: tuple[str, str]) -> list[Reply]:
        return [Reply(chance=self._chance(turns[-1].content)) for turns in asked]

    def _chance(self, content: str) -> float:
        found = SHOWN.search(content)
        assert found is not None
        first, second = (self.reward[int(number)] for number in found.groups())
        apart = (first - second) * (-1 if LESS in content else 1)
        return (1 - 2 * self.lean) * float(torch.tensor(apart, dtype=torch.float64).sigmoid()) + 2 * self.lean

    def thoughts(self, asked: Sequence[Turns]) -> list[str]:
        return [""] * len(asked)


def prove(lab: Lab, method: type[Judge] = Judge) -> Findings:
    steps = lab.of(quick=40, full=200)
    world = lab.worlds[0]
    pairs, said = items(world), labels(world, method, MORE)
    fair_N = torch.tensor([(1 - 2 * LEAN) * p + LEAN for p in truth(world).tolist()], dtype=torch.float64)
    chance_N, turned_N = chances(said), chances(labels(world, method, MORE, turned=True))
    lean = torch.tensor([verdict.lean or 0.0 for verdict in said], dtype=torch.float64)
    records = [comparison(a, b, verdict, "ai:scripted") for (a, b), verdict in zip(pairs, said, strict=True)]
    soft_N = torch.tensor([as_consensus(each).p_a for each in records if each is not None], dtype=torch.float64)
    learnt = {rule: [slope(w, labels(w, method, rule), steps) for w in lab.worlds] for rule in (MORE, LESS)}
    blind = labels(world, method, MORE, reward=[0.0] * len(world.reward_Y))
    return Findings(
        identity=every(
            at_most("|chance − what it says without its lean|", gap(chance_N, fair_N), 1e-12),
            at_most("|chance of a + chance of b − 1|, pairs turned", gap(chance_N + turned_N, torch.ones(())), 1e-12),
            at_most("|lean − its own|", gap(lean, torch.tensor(LEAN)), 1e-6),
            at_most("|label of the record − chance|", gap(soft_N, chance_N), 1e-12),
            at_most("|slope of cross-entropy where σ(difference) is the chance|", cross_entropy_slope(chance_N), 1e-9),
            at_most(
                "|slope on the reward + that of the turned constitution|", abs(learnt[MORE][0] + learnt[LESS][0]), 1e-6
            ),
        ),
        ordering=above_zero(
            "slope of the learned reward, constitution − its contrary",
            [more - less for more, less in zip(learnt[MORE], learnt[LESS], strict=True)],
        ),
        negative_control=at_most(
            "|chance − ½| of a judge that only sees positions", gap(chances(blind), torch.tensor(0.5)), 1e-12
        ),
        ablation=at_least(
            "mean error of chances, asked in one order",
            float((chances(labels(world, method, MORE, both_orders=False)) - fair_N).abs().mean()),
            LEAN / 2,
        ),
    )


def items(world: World) -> list[tuple[Text, Text]]:
    """Every pair of answers; what a judge reads of one is its number."""
    answers = [Text(prompt="Which?", completion=str(number)) for number in range(len(world.reward_Y))]
    return list(combinations(answers, 2))


def truth(world: World) -> Tensor:
    first_N, second_N = torch.combinations(torch.arange(len(world.reward_Y))).unbind(1)
    return (world.reward_Y[first_N] - world.reward_Y[second_N]).sigmoid()


def labels(
    world: World,
    method: type[Judge],
    principle: str,
    *,
    reward: Sequence[float] = (),
    turned: bool = False,
    both_orders: bool = True,
) -> list[Verdict]:
    rules: Mapping[str, str] = {"rule": principle}
    judge = method(voice=Scripted(reward or world.reward_Y.tolist()), principles=rules, both_orders=both_orders)
    return judge.better([(b, a) if turned else (a, b) for a, b in items(world)])


def chances(said: Sequence[Verdict]) -> Tensor:
    return torch.tensor([v.chance if v.chance is not None else torch.nan for v in said], dtype=torch.float64)


def gap(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max())


def cross_entropy_slope(chance_N: Tensor) -> float:
    """Of the loss that learns from such labels, at the scores whose difference they are: the labels are its target."""
    difference_N = chance_N.logit().requires_grad_()
    target_N3 = torch.stack([chance_N, 1 - chance_N, torch.zeros_like(chance_N)], 1)
    (slope_N,) = torch.autograd.grad(bradley_terry_loss(difference_N, target_N3).sum(), difference_N)
    return float(slope_N.abs().max())


def slope(world: World, said: Sequence[Verdict], steps: int) -> float:
    """On the true reward, of a reward model that learned from these labels of every pair."""
    first_N, second_N = torch.combinations(torch.arange(len(world.reward_Y))).unbind(1)
    chance_N = chances(said)
    scorer = world.scorer()
    with torch.no_grad():
        scorer.score_head.weight.zero_()  # the same start, whatever the constitution
    batch = Pairs(
        tokens=one_prompt(world.language),
        first_row_N=first_N,
        second_row_N=second_N,
        target_N3=torch.stack([chance_N, 1 - chance_N, torch.zeros_like(chance_N)], 1),
        weight_N=torch.ones_like(chance_N),
        margin_N=torch.zeros_like(chance_N),
    )
    train(BradleyTerry(), Models(policy=scorer), Always(batch=batch, steps=steps))
    return world.slope(world.score(scorer))
