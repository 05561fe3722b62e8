"""Proof of GSPO: its gradient is equation 5's, response by response; while the ratio is 1 it is GRPO's, fixed point and
all."""

from math import exp
from statistics import mean

from torch import Tensor

from tercih.algorithms.grpo import GRPO
from tercih.algorithms.gspo import GSPO
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
SAMPLES = 2
LOW, HIGH = 0.1, 0.15  # clips that some of the off-policy responses leave and others do not


def prove(lab: Lab, method: type[GSPO] = GSPO) -> Findings:
    steps = lab.of(quick=100, full=300)
    on = worlds(lab)
    world, configured = on[0], method(kl_coef=BETA, minibatches=1)
    few, unlike = (World(language=language, key=(*world.key, 80)) for language in (FEW, UNLIKE))
    policies = [reinforce(w, configured, steps, samples=SAMPLES) for w in on]
    control_Y = reinforce(world, configured, steps, samples=SAMPLES, shuffled=True)
    free_Y = reinforce(world, method(minibatches=1), steps, samples=SAMPLES)
    targets = [target(w) for w in on]
    case, wider = OffPolicy(world=unlike), method(kl_coef=BETA, clip_low=LOW, clip_high=HIGH, minibatches=1)
    expected_VD = loop(case)
    return Findings(
        identity=every(
            at_most("mean TV to its fixed point", mean(map(total_variation, policies, targets)), 0.05),
            at_most("expected gradient there, groups of 3", rest(few, configured), 1e-12),
            at_most("gradient − explicit loop of eq. 5", largest(case.gradient(wider), expected_VD), 1e-12),
        ),
        ordering=rewarded("GSPO", on, policies),
        negative_control=at_most(
            "gain in true reward, shuffled / real", world.gain(control_Y) / world.gain(policies[0]), 0.2
        ),
        ablation=every(
            at_least("TV to its fixed point, KL removed", total_variation(free_Y, targets[0]), 0.1),
            at_least(
                "gradient's change, ratio and clip of single tokens (grpo) / GSPO",
                float((case.gradient(GRPO(kl_coef=BETA, clip=LOW)) - expected_VD).norm() / expected_VD.norm()),
                0.1,
            ),
        ),
    )


def target(world: World) -> Tensor:
    return distribution(fixed_point(world, normalised, SAMPLES, BETA, per_response=True), world.language)


def rest(world: World, method: GSPO) -> float:
    """What is left of the gradient, over all groups, at the fixed point."""
    policy = fixed_point(world, normalised, 3, BETA, per_response=True)
    return largest(expected_gradient(method, world, policy, samples=3))


def loop(case: OffPolicy) -> Tensor:
    """Clipped sA + β(π0/π − 1), over |y| and over the rows, with log s the mean of the tokens' log-ratios."""
    advantage, rows = case.advantage, len(case.length)

    def pull(row: int, t: int) -> float:
        acted = kept(exp(mean(case.log_ratio[row])), advantage[row], LOW, HIGH)
        return (acted + BETA * (case.reference_ratio[row][t] - 1)) / case.length[row] / rows

    return case.loop(pull)
