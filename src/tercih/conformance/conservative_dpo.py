"""Proof of conservative DPO: where raters always agree, margins stop at log((1 − ε)/ε), and DPO's never do."""

from math import log

import torch

from tercih.algorithms.conservative_dpo import ConservativeDPO
from tercih.batches import Pairs
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.direct import aligned, as_in_words, gains_nothing, in_agreement, log_sigmoid
from tercih.conformance.lab import Lab, World

BETA, FLIPPED = 0.5, 0.2


def prove(lab: Lab, method: type[ConservativeDPO] = ConservativeDPO) -> Findings:
    steps = lab.of(quick=200, full=400)
    world, configured = lab.worlds[0], method(beta=BETA, flipped=FLIPPED)
    aim = log((1 - FLIPPED) / FLIPPED)

    def cost(better: tuple[float, float, int], worse: tuple[float, float, int]) -> float:
        margin = BETA * (better[0] - better[1] - worse[0] + worse[1])
        return -(1 - FLIPPED) * log_sigmoid(margin) - FLIPPED * log_sigmoid(-margin)

    def widest(world: World, method: ConservativeDPO) -> float:
        return float(margins(world, method, steps).abs().max())

    return Findings(
        identity=every(
            at_most("error of margins", float((margins(world, configured, steps) - aim).abs().max()), 0.01),
            as_in_words(world, configured, cost),
        ),
        ordering=above_zero(
            f"largest margin, DPO − conservative DPO, after {steps} steps on labels that agree",
            [widest(w, method(beta=BETA, flipped=0.0)) - widest(w, configured) for w in lab.worlds],
        ),
        negative_control=gains_nothing(lab, configured, steps // 2),
        ablation=at_least("error of margins, ε = 0 (DPO)", widest(world, method(beta=BETA, flipped=0.0)) - aim, 0.5),
    )


def margins(world: World, method: ConservativeDPO, steps: int) -> torch.Tensor:
    """Of pairs that share no answer, and about which everybody agrees."""
    pairs: Pairs = in_agreement(world)
    moved_Y = method.beta * (aligned(world, method, pairs, steps).log() - world.base_Y.log())
    return moved_Y[pairs.first_row_N] - moved_Y[pairs.second_row_N]
