"""Proof of DPO-Positive: where answers are of two sorts its optimum is one equation in one unknown, and it finds that;
where labels say less than the penalty costs, this is the reference."""

from math import exp, log

import torch
from torch import Tensor

from tercih.algorithms.dpop import DPOP
from tercih.batches import Pairs
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.direct import aligned, as_in_words, gains_nothing, hardened, log_sigmoid, population
from tercih.conformance.enumerable import optimum, total_variation
from tercih.conformance.lab import Lab, World, generator
from tercih.conformance.labels import drawn, one_prompt

BETA, LAM = 0.5, 3.0
CLEAR, UNCLEAR = 0.9, 0.6  # chances that the good answer wins; without a penalty either moves far


def prove(lab: Lab, method: type[DPOP] = DPOP) -> Findings:
    steps = lab.of(quick=150, full=300)
    few, many = lab.of(quick=(500, 10_000), full=(2000, 50_000))
    world, configured, plain = lab.worlds[0], method(beta=BETA, lam=LAM), method(beta=BETA, lam=0.0)

    def cost(better: tuple[float, float, int], worse: tuple[float, float, int]) -> float:
        fallen = max(0.0, better[1] - better[0])
        return -log_sigmoid(BETA * (better[0] - better[1] - worse[0] + worse[1]) - BETA * LAM * fallen)

    def missed(world: World, method: DPOP, pairs: Pairs, chance: float = CLEAR) -> float:
        return total_variation(aligned(world, method, pairs, steps), target(world, chance))

    def sampled(world: World, labels: int) -> float:
        return missed(world, configured, drawn(sorts(world, CLEAR), labels, generator(*world.key, 34)))

    whole_Y = aligned(world, plain, population(world), steps)
    return Findings(
        identity=every(
            at_most("TV to its optimum, two sorts of answers", missed(world, configured, sorts(world, CLEAR)), 0.01),
            at_most(
                "the same, labels that say less than the penalty costs",
                missed(world, configured, sorts(world, UNCLEAR), UNCLEAR),
                0.01,
            ),
            at_most("TV to π*, λ = 0", total_variation(whole_Y, optimum(world.base_Y, world.reward_Y, BETA)), 0.01),
            as_in_words(world, configured, cost),
        ),
        ordering=above_zero(
            f"TV to its optimum, {few} − {many} labels", [sampled(w, few) - sampled(w, many) for w in lab.worlds]
        ),
        negative_control=gains_nothing(lab, configured, steps, noise=hardened),
        ablation=at_least("TV to its optimum, λ = 0 (DPO)", missed(world, plain, sorts(world, CLEAR)), 0.1),
    )


def good(world: World) -> Tensor:
    """The better half of all answers, shape (Y,)."""
    return world.reward_Y > world.reward_Y.median()


def sorts(world: World, chance: float) -> Pairs:
    """Every good answer beside every bad one, better with the same chance always, and weighed by how often the
    reference says both."""
    first_N, second_N = torch.cartesian_prod(*(of_Y.nonzero().squeeze(1) for of_Y in (good(world), ~good(world)))).T
    first_better_N = torch.full(first_N.shape, chance, dtype=torch.float64)
    return Pairs(
        tokens=one_prompt(world.language), first_row_N=first_N, second_row_N=second_N,
        target_N3=torch.stack([first_better_N, 1 - first_better_N, 0 * first_better_N], 1),
        weight_N=world.base_Y[first_N] * world.base_Y[second_N], margin_N=0 * first_better_N,
    )  # fmt: skip


def target(world: World, chance: float) -> Tensor:
    """π0·e^a on good answers and π0·e^b on bad ones. The loss is convex in log-ratios, and so is Σ π0·e^ρ ≤ 1; with
    these weights its slope in every ρ(y) is in proportion to π(y) once that holds for the two sorts. So a and b ≤ 0
    are where the loss of one pair is least, given that π adds up to 1: b by bisection of its slope."""
    share = float(world.base_Y[good(world)].sum())

    def sigmoid(x: float) -> float:
        return exp(log_sigmoid(x))

    def raised(fallen: float) -> float:
        return log((1 - (1 - share) * exp(fallen)) / share)

    def slope(b: float) -> float:
        a = raised(b)
        a_by_b = -(1 - share) * exp(b - a) / share
        good_wins, bad_wins = BETA * (a - b), BETA * (b - a + LAM * b)  # the bad answer has fallen
        return (
            -chance * sigmoid(-good_wins) * BETA * (a_by_b - 1)
            - (1 - chance) * sigmoid(-bad_wins) * BETA * (1 + LAM - a_by_b)
        )  # fmt: skip

    low, high = -60.0, 0.0  # where the slope is negative all the way, the optimum is the kink: the reference
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return world.base_Y * torch.where(good(world), exp(raised(high)), exp(high))
