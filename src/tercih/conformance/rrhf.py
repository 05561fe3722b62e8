"""Proof of RRHF: its loss is what its equations say, is without ranking loss where the order is right, and finds it."""

import torch

from tercih.algorithms.rrhf import RRHF
from tercih.batches import Rankings
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.direct import aligned, loss_of, moved
from tercih.conformance.enumerable import distribution
from tercih.conformance.lab import Lab, World, generator
from tercih.conformance.labels import drawn_rankings, one_prompt, shuffled_orders

K, COEF = 4, 3.0


def prove(lab: Lab, method: type[RRHF] = RRHF) -> Findings:
    count, steps = lab.of(quick=(300, 100), full=(2000, 200))
    world, configured = lab.worlds[0], method(rank_coef=COEF)
    orders = sample(world, count)
    real, control = (in_order(world, configured, each, steps) for each in (orders, others_shuffled(world, orders)))
    return Findings(
        identity=every(
            at_most(
                "|loss − plain loop|",
                abs(loss_of(world, configured, moved(world), orders) - in_words(world, orders)),
                1e-9,
            ),
            at_most("ranking loss of its own order", ranking_loss(world, method), 1e-12),
        ),
        ordering=above_zero(
            "Kendall's τ of p and the true reward, after − before",
            [
                in_order(w, configured, sample(w, count), steps) - in_order(w, configured, sample(w, count), 0)
                for w in lab.worlds
            ],
        ),
        negative_control=at_most("|Kendall's τ|, shuffled / real orders", abs(control) / real, 0.35),
        ablation=at_least(
            "τ lost without the ranking loss", real - in_order(world, method(rank_coef=0.0), orders, steps), 0.1
        ),
    )


def sample(world: World, count: int) -> Rankings:
    """By the true reward, with one answer before all others: cross-entropy on the best says nothing about the rest."""
    drawn = drawn_rankings(world.language, world.reward_Y, K, count, generator(*world.key, 41))
    others_NK = drawn.order_row_NK
    best = int(world.reward_Y.argmax())
    kept_NK = others_NK[(others_NK != best).all(1)][:, 1:]
    return Rankings(tokens=drawn.tokens, order_row_NK=torch.cat([torch.full_like(kept_NK[:, :1], best), kept_NK], 1))


def others_shuffled(world: World, rankings: Rankings) -> Rankings:
    """The negative control: the answers after the first in any order."""
    rest = Rankings(tokens=rankings.tokens, order_row_NK=rankings.order_row_NK[:, 1:])
    mixed_NK = shuffled_orders(rest, generator(*world.key, 42)).order_row_NK
    return Rankings(tokens=rankings.tokens, order_row_NK=torch.cat([rankings.order_row_NK[:, :1], mixed_NK], 1))


def in_words(world: World, rankings: Rankings) -> float:
    """The loss as a plain loop."""
    logp_Y = distribution(moved(world), world.language).log()
    p = (logp_Y / world.language.length_Y).tolist()
    total = 0.0
    for order in rankings.order_row_NK.tolist():
        worse = sum(max(0.0, p[order[j]] - p[order[i]]) for i in range(K) for j in range(i + 1, K))
        total += COEF * worse - p[order[0]]
    return total / len(rankings.order_row_NK)


def ranking_loss(world: World, method: type[RRHF]) -> float:
    """Where the ranking is the policy's own."""
    logp_Y = distribution(moved(world), world.language).log()
    order_1K = (logp_Y / world.language.length_Y).argsort(descending=True)[None]
    own = Rankings(tokens=one_prompt(world.language), order_row_NK=order_1K)
    with_it, without = (loss_of(world, method(rank_coef=coef), moved(world), own) for coef in (1.0, 0.0))
    return abs(with_it - without)


def in_order(world: World, method: RRHF, rankings: Rankings, steps: int) -> float:
    """Kendall's τ between mean log-probabilities and the true reward."""
    found_Y = aligned(world, method, rankings, steps) if steps else world.base_Y
    p_Y = found_Y.log() / world.language.length_Y
    first_N, second_N = torch.combinations(torch.arange(len(p_Y))).unbind(1)
    same_N = (p_Y[first_N] - p_Y[second_N]).sign() * (world.reward_Y[first_N] - world.reward_Y[second_N]).sign()
    return float(same_N.mean())
