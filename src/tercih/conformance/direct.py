"""What the proofs of direct preference losses share: training on a world's labels, and sums over answers to compare
with."""

from collections.abc import Callable
from dataclasses import replace
from math import exp, log1p

import torch
from torch import Tensor

from tercih.batches import Batch, Pairs
from tercih.conformance.checks import Check, above_zero, at_most
from tercih.conformance.enumerable import distribution, total_variation
from tercih.conformance.lab import Always, Lab, World, generator, train
from tercih.conformance.labels import all_pairs, drawn, one_prompt, shuffled
from tercih.forward import Models
from tercih.method import Method
from tercih.models.language_model import LanguageModel
from tercih.tokens import Tokens

Goal = Callable[[World], Tensor]
Noise = Callable[[Pairs], Pairs]


def _as_they_are(pairs: Pairs) -> Pairs:
    return pairs


def population(world: World) -> Pairs:
    """Every pair, with the probabilities of its answers."""
    return all_pairs(world.language, world.reward_Y, generator(*world.key, 30))


def hardened(pairs: Pairs) -> Pairs:
    """Raters who always agree: the likelier side of every pair always wins."""
    first_N = (pairs.target_N3[:, 0] > pairs.target_N3[:, 1]).to(pairs.target_N3)
    return replace(pairs, target_N3=torch.stack([first_N, 1 - first_N, torch.zeros_like(first_N)], 1))


def in_agreement(world: World) -> Pairs:
    """Pairs that share no answer, the better one always first."""
    order_Y = world.reward_Y.argsort(descending=True)
    half = len(order_Y) // 2
    ones = torch.ones(half, dtype=torch.float64)
    return Pairs(
        tokens=one_prompt(world.language), first_row_N=order_Y[:half], second_row_N=order_Y[half : 2 * half],
        target_N3=torch.stack([ones, 0 * ones, 0 * ones], 1), weight_N=ones, margin_N=0 * ones,
    )  # fmt: skip


def log_sigmoid(x: float) -> float:
    return -log1p(exp(-x)) if x > 0 else x - log1p(exp(x))


def aligned(world: World, method: Method, data: Batch, steps: int, *, reference: bool = True) -> Tensor:
    """π(y) after training; without reference log π0 counts as 0 everywhere."""
    policy = world.policy()
    models = world.models(policy) if reference else Models(policy=policy, reference=nothing)
    train(method, models, Always(batch=data, steps=steps))
    return distribution(policy, world.language)


def nothing(tokens: Tokens) -> Tensor:
    return torch.zeros(tokens.response_ids_BT.shape, dtype=torch.float64)


def more_labels(lab: Lab, method: Method, goal: Goal, steps: int) -> Check:
    """Closer to `goal` with 20 times as many sampled labels."""
    few, many = lab.of(quick=(500, 10_000), full=(2000, 50_000))

    def distance(world: World, labels: int) -> float:
        sample = drawn(population(world), labels, generator(*world.key, 31))
        return total_variation(aligned(world, method, sample, steps), goal(world))

    return above_zero(
        f"TV to its optimum, {few} − {many} labels", [distance(w, few) - distance(w, many) for w in lab.worlds]
    )


def gains_nothing(lab: Lab, method: Method, steps: int, noise: Noise = _as_they_are) -> Check:
    """The negative control: what was said of one pair stands beside another. Gains are measured from where labels lead
    that say nothing, which is the reference only for methods that have one."""
    real = control = 0.0
    for world in lab.worlds:
        pairs = noise(population(world))
        turned = shuffled(pairs, generator(*world.key, 32))
        blank = replace(pairs, target_N3=torch.zeros_like(pairs.target_N3).index_fill(1, torch.tensor([0, 1]), 0.5))
        found, by_lot = (world.gain(aligned(world, method, each, steps)) for each in (pairs, turned))
        chance = 0.0 if method.needs_reference else world.gain(aligned(world, method, blank, steps))
        real, control = real + found - chance, control + by_lot - chance
    if real <= 0:
        return Check(False, "gain in true reward, real labels", real, "> 0")
    return at_most("|gain in true reward|, shuffled / real labels", abs(control) / real, 0.2)


def moved(world: World) -> LanguageModel:
    """A policy that is not the reference any more."""
    policy = world.policy()
    with torch.no_grad():
        noise = torch.randn(world.logits_DV.T.shape, generator=generator(*world.key, 33), dtype=torch.float64)
        policy.causal.table.weight.add_(noise, alpha=0.5)
    return policy


def loss_of(world: World, method: Method, policy: LanguageModel, data: Batch) -> float:
    """By the method itself, as the loop adds it up."""
    with torch.no_grad():
        (batch,) = method.batches(data, world.models(policy), {})
        assert isinstance(batch, Batch)
        terms = method.loss(policy, batch).terms.values()
    return sum(float(term.weight * term.sum / batch.units()[term.per]) for term in terms)


def in_words(world: World, policy: LanguageModel, pairs: Pairs, cost: Callable[..., float]) -> float:
    """The same as a plain loop over comparisons: `cost(better, worse)` of (log π, log π0, tokens) of two answers, in
    the mean over which of them is the better one."""
    logp, base = distribution(policy, world.language).log().tolist(), world.base_Y.log().tolist()
    of = [(p, q, len(answer)) for p, q, answer in zip(logp, base, world.language.answers, strict=True)]
    total = 0.0
    for first, second, (p_first, p_second, p_tie) in zip(
        pairs.first_row_N.tolist(), pairs.second_row_N.tolist(), pairs.target_N3.tolist(), strict=True
    ):
        total += (p_first + p_tie / 2) * cost(of[first], of[second])
        total += (p_second + p_tie / 2) * cost(of[second], of[first])
    return total / len(pairs.weight_N)


def as_in_words(world: World, method: Method, cost: Callable[..., float]) -> Check:
    """The method's loss is the paper's sentence, written down once more without tensors."""
    policy, pairs = moved(world), population(world)
    difference = loss_of(world, method, policy, pairs) - in_words(world, policy, pairs, cost)
    return at_most("|loss − plain loop|", abs(difference), 1e-9)
