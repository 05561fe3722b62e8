"""Proof of K-wise DPO: from every order's frequency it finds π0 w^(1/β), where w are the strengths that made the
orders."""

import torch
from torch import Tensor

from tercih.algorithms.dpo import DPO
from tercih.algorithms.kwise_dpo import KwiseDPO
from tercih.batches import Batch, Rankings
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.direct import aligned
from tercih.conformance.enumerable import total_variation
from tercih.conformance.lab import Lab, World, generator
from tercih.conformance.labels import drawn_rankings, ranked_pairs, shuffled_orders
from tercih.conformance.plackett_luce import K, population, strengths
from tercih.method import Method

BETA = 0.5


def prove(lab: Lab, method: type[KwiseDPO] = KwiseDPO) -> Findings:
    count, steps = lab.of(quick=(500, 100), full=(2000, 200))
    world, configured = lab.worlds[0], method(beta=BETA)
    orders = population(world)

    def missed(method: KwiseDPO, *, reference: bool = True) -> float:
        return total_variation(aligned(world, method, orders, steps, reference=reference), target(world))

    def spread(world: World, method: KwiseDPO) -> float:
        implied_Y = BETA * (aligned(world, method, sample(world, count), steps).log() - world.base_Y.log())
        return float((implied_Y - world.reward_Y).std())

    many = sample(world, 5 * count)
    real_Y = aligned(world, configured, many, steps)
    control_Y = aligned(world, configured, shuffled_orders(many, generator(*world.key, 42)), steps)
    return Findings(
        identity=every(
            at_most("TV to π0 w^(1/β)", missed(configured), 0.01),
            at_most("gradient, K = 2 − DPO's", pair_difference(world, configured), 1e-12),
        ),
        ordering=above_zero(
            f"error of implied rewards, from {count} first places − from as many whole orders",
            [spread(w, method(beta=BETA, places=1)) - spread(w, configured) for w in lab.worlds],
        ),
        negative_control=at_most(
            "|gain in true reward|, shuffled / real orders", abs(world.gain(control_Y)) / world.gain(real_Y), 0.2
        ),
        ablation=at_least("TV to π0 w^(1/β), reference removed", missed(configured, reference=False), 0.1),
    )


def target(world: World) -> Tensor:
    return (world.base_Y.log() + strengths(world).log() / BETA).softmax(0)


def sample(world: World, count: int) -> Rankings:
    """By the true reward."""
    return drawn_rankings(world.language, world.reward_Y, K, count, generator(*world.key, 41))


def pair_difference(world: World, method: KwiseDPO) -> float:
    """Largest difference of the gradient on rankings of two from DPO's on the same comparisons."""
    pairs = ranked_pairs(world.language, [range(10)])
    order_N2 = torch.stack([pairs.first_row_N, pairs.second_row_N], dim=1)
    rankings = Rankings(tokens=pairs.tokens, order_row_NK=order_N2)
    both = gradient(world, method, rankings) - gradient(world, DPO(beta=method.beta), pairs)
    return float(both.abs().max())


def gradient(world: World, method: Method, data: Batch) -> Tensor:
    policy = world.policy()
    (batch,) = method.batches(data, world.models(policy), {})
    assert isinstance(batch, Batch)
    (term,) = method.loss(policy, batch).terms.values()
    (found,) = torch.autograd.grad(term.weight * term.sum / batch.units()[term.per], policy.causal.table.weight)
    return torch.as_tensor(found)
