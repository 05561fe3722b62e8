"""Proof of the pairwise reward model: from every pair's probabilities it recovers the scores that made them."""

from itertools import combinations
from math import exp

import torch

from tercih.algorithms.bradley_terry import BradleyTerry
from tercih.batches import Pairs
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.lab import Always, Lab, World, generator, train
from tercih.conformance.labels import all_pairs, drawn, ranked_pairs, shuffled
from tercih.forward import Models
from tercih.models.reward_model import RewardModel

TIE = 0.5  # Davidson's ν


def prove(lab: Lab, method: type[BradleyTerry] = BradleyTerry) -> Findings:
    few, many = lab.of(quick=(200, 2000), full=(2000, 20_000))
    steps = lab.of(quick=100, full=200)
    world = lab.worlds[0]
    pairs, tied = population(world), population(world, tie=TIE)
    davidson = fit_scores(world, method(ties="davidson"), tied, steps)
    control = fit_scores(world, method(), shuffled(pairs, generator(*world.key, 22)), steps)
    return Findings(
        identity=every(
            at_most("max error of score differences", error(world, fit_scores(world, method(), pairs, steps)), 0.01),
            at_most("the same with ties (Davidson)", error(world, davidson), 0.01),
            at_most("error of Davidson's ν", abs(float(davidson.log_tie.detach().exp()) - TIE), 0.01),
            at_most("gradient of all pairs per prompt − explicit loop", loop_difference(world, method()), 1e-12),
        ),
        ordering=above_zero(
            f"accuracy on all pairs, {many} − {few} labels",
            [accuracy(w, method(), many, steps) - accuracy(w, method(), few, steps) for w in lab.worlds],
        ),
        negative_control=at_most(
            "|slope| on the true scores, shuffled labels",
            abs(world.slope(world.score(control))),
            0.2,
            "1 with real labels",
        ),
        ablation=at_least(
            "max error of score differences, ν removed",
            error(world, fit_scores(world, method(ties="half"), tied, steps)),
            0.1,
        ),
    )


def population(world: World, tie: float = 0.0) -> Pairs:
    return all_pairs(world.language, world.reward_Y, generator(*world.key, 20), tie=tie)


def fit_scores(world: World, method: BradleyTerry, pairs: Pairs, steps: int) -> RewardModel:
    scorer = world.scorer()
    train(method, Models(policy=scorer), Always(batch=pairs, steps=steps))
    return scorer


def error(world: World, scorer: RewardModel) -> float:
    """The largest error of any s_i − s_j."""
    off_Y = world.score(scorer) - world.reward_Y
    return float(off_Y.max() - off_Y.min())


def accuracy(world: World, method: BradleyTerry, labels: int, steps: int) -> float:
    """Share of all pairs that a model of so many sampled labels orders as the true reward does."""
    sample = drawn(population(world), labels, generator(*world.key, 21))
    score_Y = world.score(fit_scores(world, method, sample, steps))
    first_N, second_N = torch.combinations(torch.arange(len(score_Y))).unbind(1)
    same_N = (score_Y[first_N] > score_Y[second_N]) == (world.reward_Y[first_N] > world.reward_Y[second_N])
    return float(same_N.double().mean())


def loop_difference(world: World, method: BradleyTerry) -> float:
    """Ouyang et al. 2022, eq. 1: −1/C(K,2) Σ log σ(s_w − s_l), a mean over prompts, of 4, 5 and 6 answers each.

    The largest difference of the gradients at the score head, between one batch and a plain loop over pairs.
    """
    groups, answers = [range(4), range(4, 9), range(9, 15)], world.language.answers
    scorer = world.scorer()
    batch = ranked_pairs(world.language, groups)
    term = method.loss(scorer, batch).terms["preference"]
    (gradient_1D,) = torch.autograd.grad(term.weight * term.sum / batch.units()[term.per], scorer.score_head.weight)
    expected_D, score = torch.zeros_like(gradient_1D[0]), world.score(scorer).tolist()
    for group in groups:
        pairs = list(combinations(group, 2))
        for better, worse in pairs:
            pull = 1 / (1 + exp(score[better] - score[worse])) / len(pairs) / len(groups)  # σ(s_l − s_w)
            expected_D[world.language.path(answers[better])[-1]] -= pull
            expected_D[world.language.path(answers[worse])[-1]] += pull
    return float((gradient_1D[0] - expected_D).abs().max())
