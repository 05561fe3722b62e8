"""Proof of DPO: from every pair's probabilities it finds the optimum of KL-regularised RL, without any RL."""

from math import log

import torch
from torch import Tensor

from tercih.algorithms.dpo import DPO
from tercih.batches import Models, Pairs, Tokens
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.enumerable import distribution, optimum, total_variation
from tercih.conformance.lab import Always, Lab, World, generator, train
from tercih.conformance.labels import all_pairs, drawn, shuffled

BETA = 0.5


def prove(lab: Lab, method: type[DPO] = DPO) -> Findings:
    few, many = lab.of(quick=(500, 10_000), full=(2000, 50_000))
    steps = lab.of(quick=100, full=200)
    world, configured = lab.worlds[0], method(beta=BETA)
    pairs = population(world)
    real_Y = aligned(world, configured, pairs, steps)
    control_Y = aligned(world, configured, shuffled(pairs, generator(*world.key, 32)), steps)
    return Findings(
        identity=every(
            at_most("TV to π*", total_variation(real_Y, target(world)), 0.01),
            at_most("|loss − log 2| before the first step", abs(first_loss(world, configured, pairs) - log(2)), 1e-12),
        ),
        ordering=above_zero(
            f"TV to π*, {few} − {many} labels",
            [distance(w, configured, few, steps) - distance(w, configured, many, steps) for w in lab.worlds],
        ),
        negative_control=at_most(
            "gain in true reward, shuffled / real labels", world.gain(control_Y) / world.gain(real_Y), 0.2
        ),
        ablation=at_least(
            "TV to π*, reference removed",
            total_variation(aligned(world, configured, pairs, steps, reference=False), target(world)),
            0.1,
        ),
    )


def target(world: World) -> Tensor:
    return optimum(world.base_Y, world.reward_Y, BETA)


def population(world: World) -> Pairs:
    return all_pairs(world.language, world.reward_Y, generator(*world.key, 30))


def aligned(world: World, method: DPO, pairs: Pairs, steps: int, *, reference: bool = True) -> Tensor:
    """π(y) after training; without reference log π0 counts as 0 everywhere."""
    policy = world.policy()
    models = world.models(policy) if reference else Models(policy=policy, reference=nothing)
    train(method, models, Always(batch=pairs, steps=steps))
    return distribution(policy, world.language)


def nothing(tokens: Tokens) -> Tensor:
    return torch.zeros(tokens.response_ids_BT.shape, dtype=torch.float64)


def distance(world: World, method: DPO, labels: int, steps: int) -> float:
    """TV to π* after so many sampled labels."""
    sample = drawn(population(world), labels, generator(*world.key, 31))
    return total_variation(aligned(world, method, sample, steps), target(world))


def first_loss(world: World, method: DPO, pairs: Pairs) -> float:
    """Where the policy still is the reference."""
    models = world.models(world.policy())
    (batch,) = method.batches(pairs, models, {})
    terms = method.loss(models.policy, batch).terms.values()
    return sum(float(term.weight * term.sum.detach() / batch.units()[term.per]) for term in terms)
