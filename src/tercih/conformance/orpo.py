"""Proof of ORPO: its loss is what its equations say, and the odds ratio pulls apart what imitation alone leaves
close."""

from math import exp, log

from tercih.algorithms.orpo import ORPO
from tercih.conformance.checks import Findings, above_zero, at_least
from tercih.conformance.direct import aligned, as_in_words, gains_nothing, log_sigmoid, population
from tercih.conformance.lab import Lab, World

LAM = 0.8


def prove(lab: Lab, method: type[ORPO] = ORPO) -> Findings:
    steps = lab.of(quick=150, full=300)
    world, configured = lab.worlds[0], method(lam=LAM)

    def log_odds(answer: tuple[float, float, int]) -> float:
        likely = exp(answer[0] / answer[2])
        return log(likely / (1 - likely))

    def cost(better: tuple[float, float, int], worse: tuple[float, float, int]) -> float:
        return -better[0] / better[2] - LAM * log_sigmoid(log_odds(better) - log_odds(worse))

    def gain(world: World, lam: float) -> float:
        return world.gain(aligned(world, method(lam=lam), population(world), steps))

    return Findings(
        identity=as_in_words(world, configured, cost),
        ordering=above_zero(
            "true reward, with − without the odds ratio", [gain(w, LAM) - gain(w, 0.0) for w in lab.worlds]
        ),
        negative_control=gains_nothing(lab, configured, steps),
        ablation=at_least("true reward lost without the odds ratio", gain(world, LAM) - gain(world, 0.0), 0.05),
    )
