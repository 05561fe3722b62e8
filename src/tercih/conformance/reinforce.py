"""Proof of REINFORCE: its gradient is that of the expected reward, whatever the baseline; and a constant reward, which
pushes at every sample, moves nothing on average."""

from tercih.algorithms.reinforce import REINFORCE
from tercih.conformance.checks import Check, Findings, at_least, at_most, every
from tercih.conformance.enumerable import distribution
from tercih.conformance.groups import (
    FEW,
    expected_gradient,
    largest,
    moved,
    off_gradient,
    off_optimum,
    reinforce,
    rewarded,
    spread_of_gradient,
    worlds,
)
from tercih.conformance.lab import Lab, World
from tercih.method import State

BETA = 1.0
RAISED = 2.0  # a level of rewards that says nothing about which answer is better


def prove(lab: Lab, method: type[REINFORCE] = REINFORCE) -> Findings:
    steps = lab.of(quick=60, full=200)
    on, configured = worlds(lab), method(kl_coef=BETA)
    world, few = on[0], World(language=FEW, key=(*on[0].key, 80))
    known = seen(few, RAISED)
    policies = [reinforce(w, configured, steps, samples=1) for w in on]
    control_Y = reinforce(world, configured, steps, samples=1, shuffled=True)
    with_it = spread_of_gradient(method(), few, moved(few, 81), 1, RAISED, known)
    without = spread_of_gradient(method(baseline="none"), few, moved(few, 81), 1, RAISED)
    return Findings(
        identity=every(
            at_most("TV to π*", max(off_optimum(*run, BETA) for run in zip(on, policies, strict=True)), 0.05),
            *(
                at_most(f"expected gradient − exact gradient, baseline {name}", off, 1e-12)
                for name, off in (
                    ("none", off_gradient(method(kl_coef=BETA, baseline="none"), few, 1, BETA, known)),
                    ("running mean", off_gradient(configured, few, 1, BETA, known)),
                )
            ),
            constant(few, method(baseline="none", reward="constant")),
            scaled(few, method(baseline="none", reward="scaled")),
        ),
        ordering=rewarded("REINFORCE", on, policies),
        negative_control=at_most(
            "|gain in true reward|, shuffled / real", abs(world.gain(control_Y)) / world.gain(policies[0]), 0.2
        ),
        ablation=at_least("variance of the gradient, without baseline / with", without / max(with_it, 1e-12), 2.0),
    )


def seen(world: World, raised: float) -> State:
    """The state of a method that knows what to expect."""
    expected = float(distribution(moved(world, 81), world.language) @ world.reward_Y)
    return {"mean": expected + raised, "rollouts": 1}


def constant(world: World, method: REINFORCE) -> Check:
    policy = moved(world, 81)
    if spread_of_gradient(method, world, policy, 1, 0.0) < 1e-3:
        return Check(False, "a constant reward pushes at nothing", 0.0, "> 0")
    return at_most(
        "expected gradient under constant reward", largest(expected_gradient(method, world, policy, 1)), 1e-12
    )


def scaled(world: World, method: REINFORCE) -> Check:
    """A level and a scale of rewards change nothing where they are scaled: two answers, one of them better."""
    policy = moved(world, 81)
    low, high = (spread_of_gradient(method, world, policy, 2, raised) for raised in (0.0, RAISED))
    return at_most("variance under scaled rewards, raised − not", abs(high - low), 1e-12)
