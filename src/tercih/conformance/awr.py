"""Proof of AWR: values are what scores are expected to be, and weights are made of them, bounded; by sums over
answers."""

from dataclasses import replace
from math import exp

import torch
from torch import Tensor

from tercih.algorithms.awr import AWR
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.enumerable import distribution, total_variation
from tercih.conformance.lab import Always, Lab, World, train
from tercih.conformance.weighing import population, shuffled
from tercih.forward import Want
from tercih.models.language_model import LanguageModel

BETA, CAP = 0.5, 3.0
LEVEL = 2.0  # of all scores: it says nothing about which answer is better


def prove(lab: Lab, method: type[AWR] = AWR) -> Findings:
    steps = lab.of(quick=50, full=120)
    configured, world = method(beta=BETA, cap=CAP), lab.worlds[0]
    policies = [fitted(w, configured, steps) for w in lab.worlds]
    found = [distribution(policy, w.language) for w, policy in zip(lab.worlds, policies, strict=True)]
    gains = [w.gain(policy_Y) for w, policy_Y in zip(lab.worlds, found, strict=True)]
    mild = fitted_gain(lab, method(beta=10 * BETA, cap=CAP), steps)
    chance = sum(w.gain(distribution(fitted(w, configured, steps, control=True), w.language)) for w in lab.worlds)
    untaught_Y = distribution(fitted(world, method(alpha=1 - 1e-9, beta=BETA, cap=CAP), steps), world.language)
    distances = [total_variation(policy_Y, expected(w)) for w, policy_Y in zip(lab.worlds, found, strict=True)]
    return Findings(
        identity=every(
            at_most("TV to its closed form, of all worlds the furthest", max(distances), 0.02),
            at_most("|V − E[score | prefix]|, the prompt alone", abs(at_start(world, policies[0])), 0.02),
        ),
        ordering=above_zero(
            f"gain in true reward, β {BETA:g} − {10 * BETA:g}", [a - b for a, b in zip(gains, mild, strict=True)]
        ),
        negative_control=at_most("|gain in true reward|, shuffled / real scores", abs(chance) / sum(gains), 0.2),
        ablation=at_least(
            "TV to its closed form where values are not taught", total_variation(untaught_Y, expected(world)), 0.1
        ),
    )


def fitted(world: World, method: AWR, steps: int, *, control: bool = False) -> LanguageModel:
    policy = world.policy(value="shared")
    data = shuffled(world) if control else population(world)
    data = replace(data, score_B=data.score_B + LEVEL)
    train(method, world.models(policy), Always(batch=data, steps=steps))
    return policy


def fitted_gain(lab: Lab, method: AWR, steps: int) -> list[float]:
    return [w.gain(distribution(fitted(w, method, steps), w.language)) for w in lab.worlds]


def at_start(world: World, policy: LanguageModel) -> float:
    """What V says of the prompt alone, less the score that is to be expected."""
    with torch.no_grad():
        value_YT = policy(world.language.all, Want(value=True)).value_BT
    assert value_YT is not None
    return float(value_YT[0, 0] - LEVEL - world.base_Y @ world.reward_Y)


def expected(world: World) -> Tensor:
    """π(v | prefix) ∝ Σ over the answers that go on with v of π0(y)·min(e^{(r(y) − V)/β}, cap), with V the mean reward
    of all answers that go on from the prefix: by plain sums."""
    language, base, reward = world.language, world.base_Y.tolist(), world.reward_Y.tolist()
    through: dict[int, list[tuple[int, int]]] = {}  # of every prefix, the answers that go through it and how they go on
    for y, answer in enumerate(language.answers):
        for prefix, token in zip(language.path(answer), answer, strict=False):
            through.setdefault(prefix, []).append((y, token))
    step: dict[tuple[int, int], float] = {}
    for prefix, going in through.items():
        value = sum(base[y] * reward[y] for y, _ in going) / sum(base[y] for y, _ in going)
        pull = dict.fromkeys(range(language.vocabulary), 0.0)
        for y, token in going:
            pull[token] += base[y] * min(exp((reward[y] - value) / BETA), CAP)
        step |= {(prefix, token): mass / sum(pull.values()) for token, mass in pull.items()}
    chance = [1.0] * len(language.answers)
    for y, answer in enumerate(language.answers):
        for prefix, token in zip(language.path(answer), answer, strict=False):
            chance[y] *= step[prefix, token]
    return torch.tensor(chance, dtype=torch.float64)
