"""Proof of RLOO: its gradient is that of the KL-regularised reward, exactly, and from samples it finds the optimum."""

from collections.abc import Iterator
from dataclasses import replace

from tercih.algorithms.rloo import RLOO
from tercih.batches import Batch, Compared, Rollout
from tercih.conformance.checks import Findings, at_least, at_most, every
from tercih.conformance.groups import (
    FEW,
    moved,
    off_gradient,
    off_optimum,
    reinforce,
    rewarded,
    spread_of_gradient,
    worlds,
)
from tercih.conformance.lab import Lab, World
from tercih.forward import Models
from tercih.method import State

BETA = 1.0
SAMPLES = 4
RAISED = 2.0  # a level of rewards that says nothing about which answer is better


def prove(lab: Lab, method: type[RLOO] = RLOO) -> Findings:
    steps = lab.of(quick=100, full=200)
    on = worlds(lab)
    world, configured = on[0], method(kl_coef=BETA)
    few = World(language=FEW, key=(*world.key, 80))
    policies = [reinforce(w, configured, steps, samples=SAMPLES) for w in on]
    control_Y = reinforce(world, configured, steps, samples=SAMPLES, shuffled=True)
    free_Y = reinforce(world, method(kl_coef=0.0), steps, samples=SAMPLES)
    spread, bare = variance(few, method(kl_coef=0.0)), variance(few, Bare(kl_coef=0.0))
    return Findings(
        identity=every(
            at_most("TV to π*", max(off_optimum(*run, BETA) for run in zip(on, policies, strict=True)), 0.01),
            at_most("gradient over all groups of 3 − exact gradient", off_gradient(configured, few, 3, BETA), 1e-12),
        ),
        ordering=rewarded("RLOO", on, policies),
        negative_control=at_most(
            "gain in true reward, shuffled / real", world.gain(control_Y) / world.gain(policies[0]), 0.2
        ),
        ablation=every(
            at_least("TV to π*, KL removed", off_optimum(world, free_Y, BETA), 0.1),
            at_least("variance of the gradient, without baseline / with", bare / spread, 2.0),
        ),
    )


def variance(world: World, method: RLOO) -> float:
    return spread_of_gradient(method, world, moved(world, 81), samples=3, raised=RAISED)


class Bare(RLOO):
    """REINFORCE on the reward as it is."""

    def batches(self, data: Rollout, models: Models, state: State) -> Iterator[Batch]:
        for batch in RLOO.batches(self, data, models, state):
            assert isinstance(batch, Compared)
            yield replace(batch, advantage_B=data.reward_B)
