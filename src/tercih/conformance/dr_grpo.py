"""Proof of Dr. GRPO: without spread and lengths the gradient is the true one, (K−1)/K of it, and so is its optimum."""

from math import exp
from statistics import mean

from torch import Tensor

from tercih.algorithms.dr_grpo import DrGRPO
from tercih.algorithms.grpo import GRPO
from tercih.conformance.checks import Findings, at_least, at_most, every
from tercih.conformance.enumerable import distribution, total_variation
from tercih.conformance.fixed_point import centred, fixed_point
from tercih.conformance.groups import (
    FEW,
    UNLIKE,
    OffPolicy,
    expected_gradient,
    kept,
    largest,
    moved,
    prefix_kl_gradient,
    reinforce,
    reward_gradient,
    rewarded,
    worlds,
)
from tercih.conformance.lab import Lab, World

BETA = 0.3
SAMPLES = 2
LENGTH = 3.0  # the constant


def prove(lab: Lab, method: type[DrGRPO] = DrGRPO) -> Findings:
    steps = lab.of(quick=100, full=300)
    on = worlds(lab)
    world, configured = on[0], method(kl_coef=BETA, constant_length=LENGTH)
    few, unlike = (World(language=language, key=(*world.key, 80)) for language in (FEW, UNLIKE))
    policies = [reinforce(w, configured, steps, samples=SAMPLES) for w in on]
    control_Y = reinforce(world, configured, steps, samples=SAMPLES, shuffled=True)
    free_Y = reinforce(world, method(), steps, samples=SAMPLES)
    biased = [reinforce(w, GRPO(kl_coef=BETA), steps, samples=SAMPLES) for w in on]
    targets = [target(w) for w in on]
    return Findings(
        identity=every(
            at_most("mean TV to its fixed point", mean(map(total_variation, policies, targets)), 0.05),
            at_most("gradient over all groups of 3 − ⅔ exact gradient", difference(few, method()), 1e-12),
            at_most("the same of its KL term − that of KL(π0‖π)", kl_difference(few, method), 1e-12),
            at_most("gradient − explicit loop", loop_difference(unlike, configured), 1e-12),
        ),
        ordering=rewarded("Dr. GRPO", on, policies),
        negative_control=at_most(
            "gain in true reward, shuffled / real", world.gain(control_Y) / world.gain(policies[0]), 0.2
        ),
        ablation=every(
            at_least("TV to its fixed point, KL removed", total_variation(free_Y, targets[0]), 0.1),
            at_least(
                "mean TV to its fixed point, with spread and lengths (grpo)",
                mean(map(total_variation, biased, targets)),
                0.1,
            ),
        ),
    )


def target(world: World) -> Tensor:
    return distribution(fixed_point(world, centred, SAMPLES, BETA, per_response=False), world.language)


def difference(world: World, method: DrGRPO) -> float:
    policy = moved(world, 81)
    return largest(-expected_gradient(method, world, policy, samples=3), 2 / 3 * reward_gradient(world, policy))


def kl_difference(world: World, method: type[DrGRPO]) -> float:
    """Of k3 as a loss, over all groups, where π is not π0."""
    policy = moved(world, 81)
    with_kl, without = (expected_gradient(method(kl_coef=kl_coef), world, policy, samples=2) for kl_coef in (1.0, 0.0))
    return largest(with_kl - without, prefix_kl_gradient(world, policy))


def loop_difference(world: World, method: DrGRPO) -> float:
    """Clipped ρA + β(π0/π − 1) of every token, over the constant and over the rows; A is only centred."""
    case = OffPolicy(world=world)
    advantage, rows = case.groups(lambda reward: [r - mean(reward) for r in reward]), len(case.length)

    def pull(row: int, t: int) -> float:
        acted = kept(exp(case.log_ratio[row][t]), advantage[row], method.clip, method.clip)
        return (acted + BETA * (case.reference_ratio[row][t] - 1)) / LENGTH / rows

    return largest(case.gradient(method), case.loop(pull))
