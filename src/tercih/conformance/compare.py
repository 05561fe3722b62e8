"""Every method that trains a policy on the same enumerable task, from the same number of simulated judgements.

How good it is to gain reward depends on how far one goes for it. So each method's gain in true reward stands beside
what the best policy at the same distance would gain: π0·exp(r/β) with that KL(π‖π0).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from tercih.algorithms import METHODS
from tercih.algorithms.bradley_terry import BradleyTerry
from tercih.batches import Batch, Pairs, Rankings, Scored, Thumbs
from tercih.conformance.enumerable import distribution, divergence, optimum, total_variation
from tercih.conformance.groups import UNLIKE
from tercih.conformance.lab import EXACT, Always, Lab, Sampled, World, generator, train
from tercih.conformance.labels import one_prompt
from tercih.forward import Models
from tercih.method import Method, stands_alone
from tercih.optimisation import Optimisation

BETA = 1.0  # for whatever has a β: the unit of the true reward, whose deviation is 1
PLACES = 4  # answers in a ranking
SAMPLES, ROWS = 4, 256  # of a rollout


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """Of one method in one world: gain in true reward over π0, nats from π0, the share of what is possible there, and
    total variation from π0·exp(r/β), which is the optimum of some methods only."""

    gain: float
    kl: float
    share: float
    distance: float
    seconds: float


def compared(name: str, world: World, labels: int, steps: int, *, shuffled: bool = False) -> Outcome:
    """What `labels` judgements of answers of π0 lead to: comparisons, orders of four, thumbs, ratings, or answers of
    π0·exp(r/β) to imitate; where a method wants rewards, those that a reward model learned from the comparisons."""
    began, method = time.perf_counter(), configured(METHODS[name])
    if method.learns_from == "rollouts":
        found_Y = online(world, method, learned(world, labels, shuffled), steps)
    else:
        policy = world.policy(value="shared" if method.needs_values else None)
        data = Always(batch=SAID[method.learns_from](world, labels, shuffled), steps=steps)
        train(method, world.models(policy), data, EXACT)
        found_Y = distribution(policy, world.language)
    kl, gain = divergence(found_Y, world.base_Y), world.gain(found_Y)
    return Outcome(
        gain=gain, kl=kl, share=gain / possible(world, kl),
        distance=total_variation(found_Y, optimum(world.base_Y, world.reward_Y, BETA)),
        seconds=time.perf_counter() - began,
    )  # fmt: skip


def configured(method: type[Method]) -> Method:
    """Its defaults, but for the weight of the KL."""
    names = {field.name for field in fields(method)}  # type: ignore[arg-type]
    return method(**{name: BETA for name in ("beta", "kl_coef") if name in names})


def online(world: World, method: Method, reward_Y: Tensor, steps: int) -> Tensor:
    policy = world.policy(value="shared" if method.needs_values else None)
    data = Sampled(
        language=world.language, policy=policy, reward_Y=reward_Y, steps=steps, rows=ROWS, key=(*world.key, 90),
        samples=SAMPLES if method.needs_groups else 1,
    )  # fmt: skip
    train(method, world.models(policy), data, Optimisation(lr=15 / steps, betas=(0.9, 0.99)))
    return distribution(policy, world.language)


def learned(world: World, labels: int, shuffled: bool) -> Tensor:
    """Scores of a reward model from so many comparisons, with the mean of the true ones under π0, shape (Y,)."""
    scorer = world.scorer()
    train(
        BradleyTerry(centre_coef=0.01), Models(policy=scorer), Always(batch=pairs(world, labels, shuffled), steps=200)
    )
    score_Y = world.score(scorer)
    return score_Y + world.base_Y @ (world.reward_Y - score_Y)


def pairs(world: World, labels: int, shuffled: bool) -> Batch:
    """Two different answers of π0, each pair compared once."""
    draws = generator(*world.key, 91)
    sides_N2 = torch.multinomial(world.base_Y.expand(labels, -1), 2, generator=draws)
    first_N, second_N = sides_N2.unbind(1)
    wins_N = torch.bernoulli((world.reward_Y[first_N] - world.reward_Y[second_N]).sigmoid(), generator=draws)
    wins_N = wins_N[torch.randperm(labels, generator=draws)] if shuffled else wins_N
    return Pairs(
        tokens=one_prompt(world.language), first_row_N=first_N, second_row_N=second_N,
        target_N3=torch.stack([wins_N, 1 - wins_N, 0 * wins_N], 1), weight_N=torch.ones_like(wins_N),
        margin_N=torch.zeros_like(wins_N),
    )  # fmt: skip


def rankings(world: World, labels: int, shuffled: bool) -> Batch:
    """Different answers of π0, each set put in order once: scores with Gumbel noise, sorted (Yellott 1977)."""
    draws = generator(*world.key, 92)
    set_NK = torch.multinomial(world.base_Y.expand(labels, -1), PLACES, generator=draws)
    noise_NK = -torch.empty(set_NK.shape, dtype=torch.float64).exponential_(generator=draws).log()
    order_NK = (world.reward_Y[set_NK] * (not shuffled) + noise_NK).argsort(1, descending=True)
    return Rankings(tokens=one_prompt(world.language), order_row_NK=set_NK.gather(1, order_NK))


def thumbs(world: World, labels: int, shuffled: bool) -> Batch:
    draws = generator(*world.key, 93)
    answer_B = torch.multinomial(world.base_Y, labels, replacement=True, generator=draws)
    good_B = torch.bernoulli(world.reward_Y[answer_B].sigmoid(), generator=draws)
    return Thumbs(
        tokens=world.language.tokens(answer_B),
        good_B=good_B[torch.randperm(labels, generator=draws)] if shuffled else good_B,
        weight_B=torch.ones(labels, dtype=torch.float64),
    )


def demonstrations(world: World, labels: int, shuffled: bool) -> Batch:
    reward_Y = world.reward_Y.roll(1) if shuffled else world.reward_Y
    shown_Y = optimum(world.base_Y, reward_Y, BETA)
    answer_B = torch.multinomial(shown_Y, labels, replacement=True, generator=generator(*world.key, 94))
    return Batch(tokens=world.language.tokens(answer_B))


def scored(world: World, labels: int, shuffled: bool) -> Batch:
    """One rating of each of so many answers of π0: the true reward, and as much noise as it varies."""
    draws = generator(*world.key, 95)
    answer_B = torch.multinomial(world.base_Y, labels, replacement=True, generator=draws)
    score_B = world.reward_Y[answer_B] + torch.randn(labels, generator=draws, dtype=torch.float64)
    return Scored(
        tokens=world.language.tokens(answer_B),
        score_B=score_B[torch.randperm(labels, generator=draws)] if shuffled else score_B,
        weight_B=torch.ones(labels, dtype=torch.float64),
    )


SAID: dict[str, Callable[[World, int, bool], Batch]] = {
    "pairs": pairs,
    "rankings": rankings,
    "thumbs": thumbs,
    "demonstrations": demonstrations,
    "scored": scored,
}


def possible(world: World, kl: float) -> float:
    """The most that can be gained at this distance: E[r] of π0·exp(r/β) with that KL, β by bisection."""
    low, high = -12.0, 12.0  # of log β: a small β goes far
    for _ in range(60):
        middle = (low + high) / 2
        far = divergence(optimum(world.base_Y, world.reward_Y, float(torch.tensor(middle).exp())), world.base_Y) > kl
        low, high = (middle, high) if far else (low, middle)
    return world.gain(optimum(world.base_Y, world.reward_Y, float(torch.tensor(high).exp())))


LABELS, FEW, STEPS = 2000, 200, 200


def comparable() -> list[str]:
    """Methods that train a policy of which nothing is asked but tokens."""
    return [name for name, method in METHODS.items() if method.trains == "policy" and stands_alone(configured(method))]


def compare(name: str, seed: int = 0) -> dict[str, Any]:
    """A method's row: the mean over worlds of each number, every world's share, the mean gain from a tenth of the
    judgements, and that of the negative control."""
    worlds = [World(language=UNLIKE, key=world.key) for world in Lab(seed=seed).worlds]
    found = [compared(name, world, LABELS, STEPS) for world in worlds]
    means = {f.name: sum(getattr(each, f.name) for each in found) / len(found) for f in fields(Outcome)}
    from_few = [compared(name, world, FEW, STEPS).gain for world in worlds]
    by_lot = [compared(name, world, LABELS, STEPS, shuffled=True).gain for world in worlds]
    return {
        "method": name, "learns_from": METHODS[name].learns_from, **means, "shares": [one.share for one in found],
        "few": sum(from_few) / len(from_few), "control": sum(by_lot) / len(by_lot),
    }  # fmt: skip
