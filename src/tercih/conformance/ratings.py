"""What the proofs of learning from ratings share: people who rate a world's answers from 1 to 5."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tercih.batches import Scored
from tercih.conformance.enumerable import EnumLM
from tercih.conformance.lab import Always, World, generator, train
from tercih.forward import Models
from tercih.method import Method
from tercih.models.reward_model import RewardModel

SCALE_K = torch.arange(1.0, 6.0, dtype=torch.float64)


def chances(world: World) -> Tensor:
    """How often people give an answer each rating, (Y, 5): about a place that its reward says, some being strict and
    some lenient."""
    place_Y1 = 3 + 1.5 * world.reward_Y.tanh()[:, None]
    strict_Y5, lenient_Y5 = (-((SCALE_K - place_Y1 - off) ** 2) for off in (-1.0, 1.0))
    return (strict_Y5.softmax(1) + lenient_Y5.softmax(1)) / 2


def everybody(world: World) -> Scored:
    """Every answer with every rating, as much as people give it."""
    answers = len(world.reward_Y)
    return Scored(
        tokens=world.language.tokens(torch.arange(answers).repeat_interleave(len(SCALE_K))),
        score_B=SCALE_K.repeat(answers),
        weight_B=chances(world).flatten(),
    )


def drawn(world: World, count: int, *, shuffled: bool = False) -> Scored:
    """`count` answers at random, each rated by one person, as how often each rating was given; for the control, ratings
    change places."""
    draws = generator(*world.key, 80)
    answer_B = torch.randint(len(world.reward_Y), (count,), generator=draws)
    rated_B = torch.multinomial(chances(world)[answer_B], 1, generator=draws).squeeze(1)
    if shuffled:
        rated_B = rated_B[torch.randperm(count, generator=draws)]
    whole = everybody(world)
    often_B = torch.bincount(answer_B * len(SCALE_K) + rated_B, minlength=whole.rows)
    return replace(whole, weight_B=often_B.double() * len(world.reward_Y) / count)


def learned(world: World, method: Method, data: Scored, steps: int, bins: Sequence[float] = ()) -> RewardModel:
    scorer = RewardModel(EnumLM(world.language, world.logits_DV), bins=bins)
    train(method, Models(policy=scorer), Always(batch=data, steps=steps))
    return scorer


def mean_error(world: World, scorer: RewardModel) -> float:
    """Mean distance of scores from the mean of what people say."""
    return float((world.score(scorer) - chances(world) @ SCALE_K).abs().mean())
