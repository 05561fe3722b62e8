"""Proof of SLiC-HF: its loss is what its equation says; a lead of δ is all it asks for, and it stops there."""

from tercih.algorithms.slic import SLiC
from tercih.conformance.checks import Findings, above_zero, at_least, every
from tercih.conformance.direct import aligned, as_in_words, gains_nothing, in_agreement, population
from tercih.conformance.lab import Lab, World

DELTA, LAM = 1.0, 0.3


def prove(lab: Lab, method: type[SLiC] = SLiC) -> Findings:
    steps = lab.of(quick=150, full=300)
    world, configured = lab.worlds[0], method(delta=DELTA, lam=LAM)
    hinge = method(delta=DELTA, lam=0.0)

    def cost(better: tuple[float, float, int], worse: tuple[float, float, int]) -> float:
        return max(0.0, DELTA - better[0] + worse[0]) - LAM * better[0]

    def gain(world: World) -> float:
        return world.gain(aligned(world, configured, population(world), steps))

    short = shortest_lead(world, hinge, steps)
    return Findings(
        identity=every(
            as_in_words(world, configured, cost),
            at_least("shortest lead of a better answer, in δ", short / DELTA, 0.95),
        ),
        ordering=above_zero("gain in true reward over the reference", [gain(w) for w in lab.worlds]),
        negative_control=gains_nothing(lab, configured, steps),
        ablation=at_least(
            "shortest lead with twice the δ, in δ", shortest_lead(world, method(delta=2 * DELTA, lam=0.0), steps), 1.9
        ),
    )


def shortest_lead(world: World, method: SLiC, steps: int) -> float:
    """Of pairs that share no answer, and about which everybody agrees."""
    pairs = in_agreement(world)
    logp_Y = aligned(world, method, pairs, steps).log()
    return float((logp_Y[pairs.first_row_N] - logp_Y[pairs.second_row_N]).min())
