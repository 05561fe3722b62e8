"""Proof of DPO: from every pair's probabilities it finds the optimum of KL-regularised RL, without any RL; with another
divergence, the optimum under that one."""

from math import log

import torch
from torch import Tensor

from tercih.algorithms.dpo import DPO
from tercih.conformance.checks import Findings, at_least, at_most, every
from tercih.conformance.direct import aligned, gains_nothing, loss_of, more_labels, population
from tercih.conformance.enumerable import optimum, total_variation
from tercih.conformance.lab import Lab, World
from tercih.divergences import DIVERGENCES

BETA = 0.5


def prove(lab: Lab, method: type[DPO] = DPO) -> Findings:
    steps = lab.of(quick=100, full=200)
    world, configured = lab.worlds[0], method(beta=BETA)
    pairs = population(world)
    first = loss_of(world, configured, world.policy(), pairs)
    return Findings(
        identity=every(
            at_most("TV to π*", total_variation(aligned(world, configured, pairs, steps), target(world)), 0.01),
            at_most("|loss − log 2| before the first step", abs(first - log(2)), 1e-12),
            *(
                at_most(f"TV to the optimum under {name}", of_divergence(world, method, name, 2 * steps), 0.001)
                for name in (n for n, one in DIVERGENCES.items() if one.barrier and n != "reverse_kl")
            ),
        ),
        ordering=more_labels(lab, configured, target, steps),
        negative_control=gains_nothing(lab, configured, steps),
        ablation=at_least(
            "TV to π*, reference removed",
            total_variation(aligned(world, configured, pairs, steps, reference=False), target(world)),
            0.1,
        ),
    )


def target(world: World) -> Tensor:
    return optimum(world.base_Y, world.reward_Y, BETA)


def of_divergence(world: World, method: type[DPO], name: str, steps: int) -> float:
    """TV between what is found under a divergence and its optimum. β is larger, so that no answer becomes so unlikely
    that its gradient is lost; what is optimal under the reverse KL is still three times the bound away, or more."""
    found_Y = aligned(world, method(beta=5.0, divergence=name), population(world), steps)
    return total_variation(found_Y, optimum_under(world.base_Y, world.reward_Y, 5.0, name))


def optimum_under(base_Y: Tensor, reward_Y: Tensor, beta: float, name: str) -> Tensor:
    """The maximum of E[r] − β D_f(π‖π0): f'(π/π0) = (r − λ)/β for the λ with which π adds up to 1 (Wang et al. 2024,
    eq. 8), by bisection inside bisection."""
    slope = DIVERGENCES[name].slope

    def ratio(multiplier: float) -> Tensor:
        wanted_Y = (reward_Y - multiplier) / beta
        low_Y, high_Y = torch.full_like(base_Y, -60.0), torch.full_like(base_Y, 60.0)
        for _ in range(80):
            middle_Y = (low_Y + high_Y) / 2
            below_Y = slope(middle_Y) < wanted_Y
            low_Y, high_Y = torch.where(below_Y, middle_Y, low_Y), torch.where(below_Y, high_Y, middle_Y)
        return ((low_Y + high_Y) / 2).exp()

    low, high = float(reward_Y.min()) - 100 * beta, float(reward_Y.max()) + 100 * beta
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if float(base_Y @ ratio(middle)) > 1 else (low, middle)
    return base_Y * ratio(high)
