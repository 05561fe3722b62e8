"""Proof of Quark: behind every word stands its quantile of what was sampled, and KL and entropy are over the whole
vocabulary."""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from math import exp

import torch
from torch import Tensor

from tercih.algorithms.quark import Quark
from tercih.batches import Rollout
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.enumerable import total_variation
from tercih.conformance.groups import moved
from tercih.conformance.lab import Lab, Stateless, World, generator, train
from tercih.conformance.weighing import behind, with_room
from tercih.forward import Models
from tercih.models.language_model import LanguageModel, Reference
from tercih.optimisation import Optimisation

K = 3
WORDS = {"1": (1,), "2": (2,), "3": (3,)}
ROWS = 120
STEADY = Optimisation(lr=0.3, betas=(0.8, 0.95), eps=0.002, schedule="constant")  # all updates are of one step


def prove(lab: Lab, method: type[Quark] = Quark) -> Findings:
    updates = lab.of(quick=70, full=200)
    worlds = [with_room(world) for world in lab.worlds]
    world = worlds[0]
    bare = method(quantiles=K, kl_coef=0.0, entropy_coef=0.0, updates=updates, rows=ROWS, word="{}")
    held = method(quantiles=K, kl_coef=2.0, entropy_coef=0.0, updates=updates, rows=ROWS, word="{}")
    found = [told(world, bare) for world in worlds]
    gains = [[world.gain(policy_Y) for policy_Y in walk] for world, walk in zip(worlds, found, strict=True)]
    lots = [[world.gain(policy_Y) for policy_Y in told(world, bare, shuffled=True)] for world in worlds]
    spread, chance = (sum(gain[-1] - gain[0] for gain in each) for each in (gains, lots))
    apart = [
        total_variation(policy_Y, quantile_Y)
        for world, walk in zip(worlds, found, strict=True)
        for policy_Y, quantile_Y in zip(walk, quantiles(world), strict=True)
    ]
    return Findings(
        identity=every(
            at_most("TV to the quantile behind each word, the furthest", max(apart), 0.01),
            at_most("|loss − plain loop|", abs(difference(world, method)), 1e-9),
        ),
        ordering=above_zero(
            "true reward behind a word − behind the one below, the least",
            [min(high - low for low, high in pairwise(gain)) for gain in gains],
        ),
        negative_control=at_most("|best − worst quantile in true reward|, shuffled / real", abs(chance) / spread, 0.2),
        ablation=at_least(
            "TV between with and without KL, the best word",
            total_variation(told(world, held)[-1], found[0][-1]),
            0.1,
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Asked(Stateless):
    """Answers of the reference, asked for with the best word."""

    world: World
    steps: int = 1
    shuffled: bool = False

    def __call__(self, step: int) -> Rollout:
        answer_B = drawn(self.world)
        scored_B = answer_B
        if self.shuffled:
            scored_B = answer_B[torch.randperm(ROWS, generator=generator(*self.world.key, 64))]
        tokens = self.world.language.tokens(answer_B).with_words([WORDS[str(K)]], torch.zeros_like(answer_B))
        return Rollout(
            tokens=tokens, logp_BT=torch.zeros(tokens.response_ids_BT.shape), reward_B=self.world.reward_Y[scored_B],
            ended_B=torch.ones(ROWS, dtype=torch.bool), parts={}, version=step,
        )  # fmt: skip


def drawn(world: World) -> Tensor:
    return torch.multinomial(world.base_Y, ROWS, replacement=True, generator=generator(*world.key, 63))


def models(world: World, policy: LanguageModel) -> Models:
    return Models(policy=policy, reference=Reference(world.policy()), words=WORDS)


def told(world: World, method: Quark, *, shuffled: bool = False) -> list[Tensor]:
    """π(y | word) behind every word after training, the lowest first."""
    policy = world.policy()
    train(method, models(world, policy), Asked(world=world, shuffled=shuffled), STEADY)
    return [behind(world, policy, word) for word in WORDS.values()]


def quantiles(world: World) -> list[Tensor]:
    """What was drawn, sorted by reward and cut into K equal parts: by plain counting."""
    reward = world.reward_Y.tolist()
    ranked = sorted(drawn(world).tolist(), key=reward.__getitem__)
    parts = [Counter(ranked[k * ROWS // K : (k + 1) * ROWS // K]) for k in range(K)]
    return [torch.tensor([part[y] * K / ROWS for y in range(len(reward))], dtype=torch.float64) for part in parts]


def difference(world: World, method: type[Quark]) -> float:
    """The method's loss less the same as a plain loop over tokens and the whole vocabulary."""
    kl_coef, entropy_coef = 0.3, 0.2
    configured = method(quantiles=K, kl_coef=kl_coef, entropy_coef=entropy_coef, updates=1, rows=ROWS, word="{}")
    policy = moved(world, 65)
    (batch,) = configured.batches(Asked(world=world)(0), models(world, policy), {"steps": 0})
    with torch.no_grad():
        terms = configured.loss(policy, batch).terms.values()
    found = sum(float(term.weight * term.sum / batch.units()[term.per]) for term in terms)
    tables = policy.causal.table.weight, world.policy().causal.table.weight
    logp, base = (table_VD.detach().log_softmax(0).T.tolist() for table_VD in tables)
    reward, answers = world.reward_Y.tolist(), world.language.answers
    ranked = sorted(drawn(world).tolist(), key=reward.__getitem__)
    loss, tokens = 0.0, 0
    for place, y in enumerate(ranked):
        word = WORDS[str(place * K // ROWS + 1)]
        here, there = world.language.path(word + answers[y])[len(word) :], world.language.path(answers[y])
        for token, p, q in zip(answers[y], here, there, strict=False):
            chance = [exp(x) for x in logp[p]]
            loss += -logp[p][token] + entropy_coef * sum(c * x for c, x in zip(chance, logp[p], strict=True))
            loss += kl_coef * sum(c * (x - z) for c, x, z in zip(chance, logp[p], base[q], strict=True))
            tokens += 1
    return found - loss / tokens
