"""Proof of unlikelihood: on every prefix it ends where the pull of good text and the push of bad text are even."""

from math import sqrt

import torch
from torch import Tensor

from tercih.algorithms.unlikelihood import Unlikelihood
from tercih.conformance.checks import Findings, above_zero, at_least
from tercih.conformance.enumerable import total_variation
from tercih.conformance.lab import Lab, World
from tercih.conformance.weighing import fitted, furthest, learns_nothing

THRESHOLD, ALPHA = 0.3, 0.7
HALVINGS = 200


def prove(lab: Lab, method: type[Unlikelihood] = Unlikelihood) -> Findings:
    steps = lab.of(quick=60, full=140)
    configured, world = method(threshold=THRESHOLD, alpha=ALPHA), lab.worlds[0]
    found = [fitted(w, configured, steps) for w in lab.worlds]
    gains = [w.gain(policy_Y) for w, policy_Y in zip(lab.worlds, found, strict=True)]
    mild = [w.gain(fitted(w, method(threshold=-10 * THRESHOLD, alpha=ALPHA), steps)) for w in lab.worlds]
    return Findings(
        identity=furthest(found, [balance(w) for w in lab.worlds], 0.02),
        ordering=above_zero(
            "gain in true reward, over what calls (almost) nothing bad",
            [a - b for a, b in zip(gains, mild, strict=True)],
        ),
        negative_control=learns_nothing(lab, configured, steps, gains),
        ablation=at_least(
            "TV to that where nothing is pushed away",
            total_variation(fitted(world, method(threshold=THRESHOLD, alpha=0.0), steps), balance(world)),
            0.05,
        ),
    )


def balance(world: World) -> Tensor:
    """Every prefix by itself: the π for which g(v)/π(v) − α·b(v)/(1 − π(v)) is the same for all tokens v, where g and
    b are how often v follows in good and in bad answers. That number is looked for by halving."""
    language, base, reward = world.language, world.base_Y.tolist(), world.reward_Y.tolist()
    good: dict[int, list[float]] = {}
    bad: dict[int, list[float]] = {}
    for y, answer in enumerate(language.answers):
        side = good if reward[y] >= THRESHOLD else bad
        for prefix, token in zip(language.path(answer), answer, strict=False):
            side.setdefault(prefix, [0.0] * language.vocabulary)[token] += base[y]
    none = [0.0] * language.vocabulary
    step = {p: _even(good.get(p, none), [ALPHA * b for b in bad.get(p, none)]) for p in good | bad}
    chance = [1.0] * len(language.answers)
    for y, answer in enumerate(language.answers):
        for prefix, token in zip(language.path(answer), answer, strict=False):
            chance[y] *= step[prefix][token]
    return torch.tensor(chance, dtype=torch.float64)


def _even(pull: list[float], push: list[float]) -> list[float]:
    """Chances that fall as `level` rises: halve between one where they add up to more than 1 and one to less."""
    low, high = -sum(push) * 1e6 - 1.0, sum(pull) + 1.0
    for _ in range(HALVINGS):
        level = (low + high) / 2
        if sum(_chance(g, c, level) for g, c in zip(pull, push, strict=True)) > 1:
            low = level
        else:
            high = level
    return [_chance(g, c, (low + high) / 2) for g, c in zip(pull, push, strict=True)]


def _chance(pull: float, push: float, level: float) -> float:
    """The p in [0, 1] at which pull/p − push/(1 − p) = level."""
    if pull == 0:
        return max(0.0, 1 + push / level) if level < 0 else 0.0
    middle = level + pull + push
    root = sqrt(middle * middle - 4 * level * pull)
    return 2 * pull / (middle + root) if middle >= 0 else (middle - root) / (2 * level)
