"""Proof of robust DPO: from labels of which a known share was turned around it finds what DPO finds from clean ones."""

from dataclasses import replace

from torch import Tensor

from tercih.algorithms.robust_dpo import RobustDPO
from tercih.batches import Pairs
from tercih.conformance.checks import Findings, above_zero, at_least, at_most
from tercih.conformance.direct import aligned, gains_nothing, population
from tercih.conformance.enumerable import optimum, total_variation
from tercih.conformance.lab import Lab, World

BETA, FLIPPED = 0.5, 0.25


def prove(lab: Lab, method: type[RobustDPO] = RobustDPO) -> Findings:
    steps = lab.of(quick=100, full=200)
    world, configured = lab.worlds[0], method(beta=BETA, flipped=FLIPPED)

    def missed(world: World, flipped: float) -> float:
        noisy = turned_around(population(world))
        return total_variation(aligned(world, method(beta=BETA, flipped=flipped), noisy, steps), target(world))

    return Findings(
        identity=at_most("TV to π*, a quarter of labels turned around", missed(world, FLIPPED), 0.01),
        ordering=above_zero(
            "TV to π* from the same labels, DPO − robust DPO",
            [missed(w, 0.0) - missed(w, FLIPPED) for w in lab.worlds],
        ),
        negative_control=gains_nothing(lab, configured, steps, noise=turned_around),
        ablation=at_least("TV to π*, half the rate corrected for", missed(world, FLIPPED / 2), 0.05),
    )


def target(world: World) -> Tensor:
    return optimum(world.base_Y, world.reward_Y, BETA)


def turned_around(pairs: Pairs) -> Pairs:
    """What is said of each pair where each label is turned around with the chance `FLIPPED`."""
    turned_N3 = pairs.target_N3[:, [1, 0, 2]]
    return replace(pairs, target_N3=(1 - FLIPPED) * pairs.target_N3 + FLIPPED * turned_N3)
