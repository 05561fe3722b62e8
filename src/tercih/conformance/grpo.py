"""Proof of GRPO: its gradient is equation 3's, token by token, and from samples it finds its own fixed point.

That is not the optimum of KL-regularised reward: the fixed point is where the *expected* advantages, which dividing by
the spread has bent, are balanced by KL(π0‖π) of every token, each weighed by 1/|y|.
"""

from math import exp
from statistics import mean

from torch import Tensor

from tercih.algorithms.dr_grpo import DrGRPO
from tercih.algorithms.grpo import GRPO
from tercih.conformance.checks import Findings, at_least, at_most, every
from tercih.conformance.enumerable import distribution, total_variation
from tercih.conformance.fixed_point import fixed_point, normalised
from tercih.conformance.groups import (
    FEW,
    UNLIKE,
    OffPolicy,
    expected_gradient,
    kept,
    largest,
    reinforce,
    rewarded,
    worlds,
)
from tercih.conformance.lab import Lab, World

BETA = 0.3
SAMPLES = 2  # of a prompt: few enough for expectations over groups in the whole language


def prove(lab: Lab, method: type[GRPO] = GRPO) -> Findings:
    steps = lab.of(quick=100, full=300)
    on = worlds(lab)
    world, configured = on[0], method(kl_coef=BETA)
    few, unlike = (World(language=language, key=(*world.key, 80)) for language in (FEW, UNLIKE))
    policies = [reinforce(w, configured, steps, samples=SAMPLES) for w in on]
    control_Y = reinforce(world, configured, steps, samples=SAMPLES, shuffled=True)
    free_Y = reinforce(world, method(kl_coef=0.0), steps, samples=SAMPLES)
    right = [reinforce(w, DrGRPO(kl_coef=BETA), steps, samples=SAMPLES) for w in on]
    targets = [target(w) for w in on]
    return Findings(
        identity=every(
            at_most("mean TV to its fixed point", mean(map(total_variation, policies, targets)), 0.05),
            at_most("expected gradient there, groups of 3", rest(few, configured), 1e-12),
            at_most("gradient − explicit loop of eq. 3", loop_difference(unlike, configured), 1e-12),
        ),
        ordering=rewarded("GRPO", on, policies),
        negative_control=at_most(
            "gain in true reward, shuffled / real", world.gain(control_Y) / world.gain(policies[0]), 0.2
        ),
        ablation=every(
            at_least("TV to its fixed point, KL removed", total_variation(free_Y, targets[0]), 0.1),
            at_least(
                "mean TV to its fixed point, without spread and lengths (dr_grpo)",
                mean(map(total_variation, right, targets)),
                0.1,
            ),
        ),
    )


def target(world: World) -> Tensor:
    return distribution(fixed_point(world, normalised, SAMPLES, BETA, per_response=True), world.language)


def rest(world: World, method: GRPO) -> float:
    """What is left of the gradient, over all groups, at the fixed point."""
    policy = fixed_point(world, normalised, 3, BETA, per_response=True)
    return largest(expected_gradient(method, world, policy, samples=3))


def loop_difference(world: World, method: GRPO) -> float:
    """Eq. 3, with the gradient coefficient of eq. 21: clipped ρA + β(π0/π − 1), over |y| and over the rows."""
    case = OffPolicy(world=world)
    advantage, rows = case.advantage, len(case.length)

    def pull(row: int, t: int) -> float:
        acted = kept(exp(case.log_ratio[row][t]), advantage[row], method.clip, method.clip)
        return (acted + BETA * (case.reference_ratio[row][t] - 1)) / case.length[row] / rows

    return largest(case.gradient(method), case.loop(pull))
