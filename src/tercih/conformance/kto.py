"""Proof of KTO: its loss is what its equations say, and thumbs alone teach what people want."""

from math import exp

import torch
from torch import Tensor

from tercih.algorithms.kto import KTO
from tercih.batches import Thumbs
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.direct import aligned, loss_of, moved
from tercih.conformance.enumerable import distribution, total_variation
from tercih.conformance.lab import Lab, World, generator

BETA, DESIRABLE, UNDESIRABLE = 0.5, 1.2, 0.9


def prove(lab: Lab, method: type[KTO] = KTO) -> Findings:
    count, steps = lab.of(quick=(2500, 20), full=(10_000, 80))
    world, configured = lab.worlds[0], method(beta=BETA)
    weighted = method(beta=BETA, desirable=DESIRABLE, undesirable=UNDESIRABLE)
    judged = thumbs(world, grown(world))

    def found(world: World, *, shuffled: bool = False, reference: bool = True) -> Tensor:
        return aligned(world, configured, drawn(world, count, shuffled=shuffled), steps, reference=reference)

    gains = [world.gain(found(world)) for world in lab.worlds]
    chance = [world.gain(found(world, shuffled=True)) for world in lab.worlds]
    in_tensors = loss_of(world, weighted, moved(world), judged)
    return Findings(
        identity=every(
            at_most("|loss − plain loop|", abs(in_tensors - in_words(world, judged)), 1e-9),
            at_most(
                "|loss − ½| where the policy is the reference",
                abs(loss_of(world, configured, world.policy(), judged) - 0.5),
                1e-9,
            ),
        ),
        ordering=above_zero(f"gain in true reward from {count} thumbs", gains),
        negative_control=at_most("|gain in true reward|, shuffled / real thumbs", abs(sum(chance)) / sum(gains), 0.2),
        ablation=at_least(
            "TV between with and without the reference",
            total_variation(found(world), found(world, reference=False)),
            0.1,
        ),
    )


def thumbs(world: World, answer_B: Tensor) -> Thumbs:
    """σ(r) of people call an answer good."""
    return Thumbs(
        tokens=world.language.tokens(answer_B),
        good_B=world.reward_Y[answer_B].sigmoid(),
        weight_B=torch.ones(len(answer_B), dtype=torch.float64),
    )


def drawn(world: World, count: int, *, shuffled: bool) -> Thumbs:
    """Answers of the reference, each judged by one person."""
    draws = generator(*world.key, 50)
    answer_B = torch.multinomial(world.base_Y, count, replacement=True, generator=draws)
    judged = thumbs(world, answer_B)
    good_B = torch.bernoulli(judged.good_B, generator=draws)
    if shuffled:
        good_B = good_B[torch.randperm(count, generator=draws)]
    return Thumbs(tokens=judged.tokens, good_B=good_B, weight_B=judged.weight_B)


def ratios(world: World) -> Tensor:
    """log(π/π0) of a policy that has moved, shape (Y,)."""
    return distribution(moved(world), world.language).log() - world.base_Y.log()


def grown(world: World) -> Tensor:
    """The half of all answers that it has made likelier, so that the zero point is above 0."""
    return ratios(world).argsort(descending=True)[: len(world.base_Y) // 2]


def in_words(world: World, judged: Thumbs) -> float:
    """The loss of these answers as a plain loop; the zero point is of every prompt with the answer before its own."""
    moved_B = ratios(world)[grown(world)].tolist()
    zero = max(0.0, sum(moved_B) / len(moved_B))
    total = 0.0
    for ratio, good in zip(moved_B, judged.good_B.tolist(), strict=True):
        gain = 1 / (1 + exp(-BETA * (ratio - zero)))
        total += good * DESIRABLE * (1 - gain) + (1 - good) * UNDESIRABLE * gain
    return total / len(moved_B)
