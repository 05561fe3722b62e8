"""Proof of CPO: without imitation it finds the optimum of a uniform reference; with it, what its equation says."""

import torch
from torch import Tensor

from tercih.algorithms.cpo import CPO
from tercih.conformance.checks import Findings, at_least, at_most, every
from tercih.conformance.direct import aligned, as_in_words, gains_nothing, log_sigmoid, more_labels, population
from tercih.conformance.enumerable import total_variation
from tercih.conformance.lab import Lab, World

BETA, NLL = 0.5, 0.7


def prove(lab: Lab, method: type[CPO] = CPO) -> Findings:
    steps = lab.of(quick=200, full=400)
    world, contrast = lab.worlds[0], method(beta=BETA, nll_coef=0.0)
    pairs = population(world)

    def cost(better: tuple[float, float, int], worse: tuple[float, float, int]) -> float:
        return -log_sigmoid(BETA * (better[0] - worse[0])) - NLL * better[0]

    return Findings(
        identity=every(
            at_most(
                "TV to exp(r/β), nothing imitated",
                total_variation(aligned(world, contrast, pairs, steps), target(world)),
                0.01,
            ),
            as_in_words(world, method(beta=BETA, nll_coef=NLL), cost),
        ),
        ordering=more_labels(lab, contrast, target, steps),
        negative_control=gains_nothing(lab, method(beta=BETA, nll_coef=0.1), steps),
        ablation=at_least(
            "TV between imitating and not",
            total_variation(aligned(world, contrast, pairs, steps), aligned(world, method(beta=BETA), pairs, steps)),
            0.05,
        ),
    )


def target(world: World) -> Tensor:
    return torch.softmax(world.reward_Y / BETA, 0)
