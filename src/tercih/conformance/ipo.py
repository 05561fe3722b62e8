"""Proof of IPO: its optimum is π0 exp(E[p(y ≻ y')]/τ), also where raters always agree, and there DPO has none."""

import torch
from torch import Tensor

from tercih.algorithms.ipo import IPO
from tercih.batches import Pairs
from tercih.conformance.checks import Findings, at_least, at_most, every
from tercih.conformance.direct import aligned, as_in_words, gains_nothing, hardened, more_labels, population
from tercih.conformance.enumerable import total_variation
from tercih.conformance.lab import Lab, World

TAU = 0.5


def prove(lab: Lab, method: type[IPO] = IPO) -> Findings:
    steps = lab.of(quick=150, full=300)
    world, configured = lab.worlds[0], method(tau=TAU)
    pairs = population(world)

    def cost(better: tuple[float, float, int], worse: tuple[float, float, int]) -> float:
        return (better[0] - better[1] - worse[0] + worse[1] - 1 / (2 * TAU)) ** 2

    def per_token(better: tuple[float, float, int], worse: tuple[float, float, int]) -> float:
        (p, p0, n), (q, q0, m) = better, worse
        return ((p - p0) / n - (q - q0) / m - 1 / (2 * TAU)) ** 2

    def missed(method: IPO, pairs: Pairs, *, reference: bool = True) -> float:
        found_Y = aligned(world, method, pairs, steps, reference=reference)
        return total_variation(found_Y, preferred(world, pairs))

    return Findings(
        identity=every(
            at_most("TV to its optimum", missed(configured, pairs), 0.01),
            at_most("the same, raters who always agree", missed(configured, hardened(pairs)), 0.01),
            as_in_words(world, configured, cost),
            as_in_words(world, method(tau=TAU, per_token=True), per_token),
        ),
        ordering=more_labels(lab, configured, lambda w: preferred(w, population(w)), steps),
        negative_control=gains_nothing(lab, configured, steps),
        ablation=at_least("TV to its optimum, reference removed", missed(configured, pairs, reference=False), 0.1),
    )


def preferred(world: World, pairs: Pairs) -> Tensor:
    """π0 exp(E[p(y ≻ y')]/τ), where y' is any answer with the same chance (Azar et al. 2024, eq. 6 and 8)."""
    size = len(world.base_Y)
    chance_YY = torch.full((size, size), 0.5, dtype=torch.float64)
    first_N, second_N = pairs.first_row_N, pairs.second_row_N
    chance_YY[first_N, second_N] = pairs.target_N3[:, 0] + pairs.target_N3[:, 2] / 2
    chance_YY[second_N, first_N] = 1 - chance_YY[first_N, second_N]
    return (world.base_Y.log() + chance_YY.mean(1) / TAU).softmax(0)
