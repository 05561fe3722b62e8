"""Proof of SimPO: with no margin asked for, π(y) = exp(|y| (r(y) + c)/β) for the c with which it adds up to 1."""

import torch
from torch import Tensor

from tercih.algorithms.simpo import SimPO
from tercih.conformance.checks import Findings, at_least, at_most, every
from tercih.conformance.direct import aligned, as_in_words, gains_nothing, log_sigmoid, more_labels, population
from tercih.conformance.enumerable import total_variation
from tercih.conformance.lab import Lab, World

BETA, GAMMA = 2.0, 1.0


def prove(lab: Lab, method: type[SimPO] = SimPO) -> Findings:
    steps = lab.of(quick=150, full=300)
    world, plain = lab.worlds[0], method(beta=BETA, gamma=0.0)
    pairs = population(world)

    def cost(better: tuple[float, float, int], worse: tuple[float, float, int]) -> float:
        return -log_sigmoid(BETA * (better[0] / better[2] - worse[0] / worse[2]) - GAMMA)

    return Findings(
        identity=every(
            at_most("TV to its optimum", total_variation(aligned(world, plain, pairs, steps), target(world)), 0.01),
            as_in_words(world, method(beta=BETA, gamma=GAMMA), cost),
        ),
        ordering=more_labels(lab, plain, target, steps),
        negative_control=gains_nothing(lab, plain, steps),
        ablation=at_least(
            "TV to its optimum, a margin of 1 asked for",
            total_variation(aligned(world, method(beta=BETA, gamma=GAMMA), pairs, steps), target(world)),
            0.02,
        ),
    )


def target(world: World) -> Tensor:
    length_Y = world.language.length_Y
    low, high = -200.0, 200.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if float(likely(world, length_Y, middle).sum()) > 1 else (middle, high)
    return likely(world, length_Y, low)


def likely(world: World, length_Y: Tensor, shift: float) -> Tensor:
    return torch.exp(length_Y * (world.reward_Y + shift) / BETA)
