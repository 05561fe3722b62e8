"""Proof of the K-wise reward model: from every order's frequency it recovers the strengths that made them."""

from math import exp

import torch
from torch import Tensor

from tercih.algorithms.bradley_terry import BradleyTerry
from tercih.algorithms.plackett_luce import PlackettLuce
from tercih.batches import Batch, Rankings
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.lab import Always, Lab, World, generator, train
from tercih.conformance.labels import all_rankings, drawn_rankings, neighbours, ranked_pairs, shuffled_orders
from tercih.forward import Models
from tercih.method import Method
from tercih.models.reward_model import RewardModel

K = 4  # answers in every sampled ranking


def prove(lab: Lab, method: type[PlackettLuce] = PlackettLuce) -> Findings:
    count, steps = lab.of(quick=(500, 100), full=(5000, 200))
    world = lab.worlds[0]
    orders = population(world)
    control = shuffled_orders(sample(world, 10 * count), generator(*world.key, 42))
    return Findings(
        identity=every(
            at_most("max error of log-strengths", error(world, fit_scores(world, method(), orders, steps)), 0.01),
            at_most("gradient − explicit loop", loop_difference(world, method(), K), 1e-12),
            at_most("the same, places = 1 (softmax of the best)", loop_difference(world, method(places=1), 1), 1e-12),
            at_most("gradient, K = 2 − Bradley–Terry", pair_difference(world, method()), 1e-12),
        ),
        ordering=above_zero(
            f"error from {count} first places − from as many whole orders",
            [spread(w, method(places=1), count, steps) - spread(w, method(), count, steps) for w in lab.worlds],
        ),
        negative_control=at_most(
            "|slope| on the true scores, shuffled orders",
            abs(world.slope(fit_scores(world, method(), control, steps))),
            0.2,
            "1 with real orders",
        ),
        ablation=at_least(
            "max error, orders split into neighbours",
            error(world, fit_scores(world, method(), neighbours(orders), steps)),
            0.1,
            "each place no longer against all that come after it (Azari Soufiani et al. 2013: inconsistent)",
        ),
    )


def population(world: World) -> Rankings:
    """Every order of sets of three: each answer, the next one, and another at random, so that no two are far apart."""
    size = len(world.language.answers)
    jumps = torch.randint(2, size, (size,), generator=generator(*world.key, 43)).tolist()
    sets = [(i, (i + 1) % size, (i + jump) % size) for i, jump in enumerate(jumps)]
    return all_rankings(world.language, strengths(world), sets)


def strengths(world: World) -> Tensor:
    """Whole numbers, so that the population of orders is a finite list."""
    return torch.randint(1, 4, world.reward_Y.shape, generator=generator(*world.key, 40))


def sample(world: World, count: int) -> Rankings:
    """By the true reward."""
    return drawn_rankings(world.language, world.reward_Y, K, count, generator(*world.key, 41))


def fit_scores(world: World, method: PlackettLuce, rankings: Rankings, steps: int) -> Tensor:
    scorer = world.scorer()
    train(method, Models(policy=scorer), Always(batch=rankings, steps=steps))
    return world.score(scorer)


def error(world: World, score_Y: Tensor) -> float:
    """The largest error of any s_i − s_j."""
    off_Y = score_Y - strengths(world).log()
    return float(off_Y.max() - off_Y.min())


def spread(world: World, method: PlackettLuce, count: int, steps: int) -> float:
    """Root mean square error of the scores from sampled rankings."""
    return float((fit_scores(world, method, sample(world, count), steps) - world.reward_Y).std())


def gradient(method: Method, scorer: RewardModel, batch: Batch) -> Tensor:
    """Of the loss with respect to the score head, shape (D,)."""
    terms = [term for term in method.loss(scorer, batch).terms.values() if term.weight]
    loss = torch.stack([term.weight * term.sum / batch.units()[term.per] for term in terms]).sum()
    return torch.autograd.grad(loss, scorer.score_head.weight)[0][0]


def loop_difference(world: World, method: PlackettLuce, places: int) -> float:
    """Largest difference of the gradient from a plain loop over places: ∂/∂s of −log softmax(s_k .. s_K)[k]."""
    scorer, rankings, answers = world.scorer(), sample(world, 20), world.language.answers
    score, expected_D = world.score(scorer).tolist(), torch.zeros_like(scorer.score_head.weight[0])
    orders: list[list[int]] = rankings.order_row_NK.tolist()
    for order in orders:
        for k in range(min(places, K - 1)):
            total = sum(exp(score[y]) for y in order[k:])
            expected_D[world.language.path(answers[order[k]])[-1]] -= 1 / len(orders)
            for y in order[k:]:
                expected_D[world.language.path(answers[y])[-1]] += exp(score[y]) / total / len(orders)
    return float((gradient(method, scorer, rankings) - expected_D).abs().max())


def pair_difference(world: World, method: PlackettLuce) -> float:
    """Largest difference of the gradient on rankings of two from Bradley–Terry's on the same comparisons."""
    scorer, pairs = world.scorer(), ranked_pairs(world.language, [range(10)])
    order_N2 = torch.stack([pairs.first_row_N, pairs.second_row_N], dim=1)
    rankings = Rankings(tokens=pairs.tokens, order_row_NK=order_N2)
    return float((gradient(method, scorer, rankings) - gradient(BradleyTerry(), scorer, pairs)).abs().max())
