"""What the proofs of offline value methods share: scored answers, training on them, and values from the ends
backwards."""

from collections.abc import Callable

import torch
from torch import Tensor

from tercih.batches import Scored
from tercih.conformance.enumerable import EnumLM
from tercih.conformance.groups import UNLIKE
from tercih.conformance.lab import Always, Lab, World, generator, train
from tercih.forward import Models
from tercih.method import Method
from tercih.models.action_values import ActionValueModel
from tercih.optimisation import Optimisation

SWIFT = Optimisation(lr=0.1, betas=(0.8, 0.95))

Worth = Callable[[Tensor, Tensor], float]
"""V of a prefix, from Q of its tokens and what the reference gives them."""


def worlds(lab: Lab) -> list[World]:
    """One a paired seed, with answers of unlike lengths in the full proofs too."""
    return [World(language=UNLIKE, key=world.key) for world in lab.worlds]


def everything(world: World) -> Scored:
    """Every answer, as often as the reference gives it, with its true reward."""
    return Scored(tokens=world.language.all, score_B=world.reward_Y, weight_B=world.base_Y * len(world.base_Y))


def drawn(world: World, count: int, *, shuffled: bool = False) -> Scored:
    """Answers of the reference, each once with how often it was given and its mean score: Q is drawn to the mean.

    `shuffled` is the negative control: scores change places before that.
    """
    draws = generator(*world.key, 70)
    answer_B = torch.multinomial(world.base_Y, count, replacement=True, generator=draws)
    score_B = world.reward_Y[answer_B[torch.randperm(count, generator=draws)] if shuffled else answer_B]
    often_Y = torch.bincount(answer_B, minlength=len(world.base_Y)).double()
    mean_Y = torch.zeros_like(world.base_Y).index_add(0, answer_B, score_B) / often_Y
    given = often_Y.nonzero().squeeze(1)
    return Scored(
        tokens=world.language.tokens(given),
        score_B=mean_Y[given],
        weight_B=often_Y[given] * len(given) / count,
    )


def trained(world: World, method: Method, data: Scored, steps: int) -> ActionValueModel:
    policy = ActionValueModel(EnumLM(world.language, world.logits_DV))
    train(method, Models(policy=policy), Always(batch=data, steps=steps), SWIFT)
    return policy


def backwards(world: World, worth: Worth, gamma: float) -> Tensor:
    """Q of every token after every prefix, from the ends backwards, shape (D, V); NaN where nothing goes."""
    language, q_DV = world.language, torch.full(world.logits_DV.shape, torch.nan, dtype=torch.float64)
    base_DV = world.logits_DV.softmax(1)
    ends = {language.path(a)[-1]: float(r) for a, r in zip(language.answers, world.reward_Y, strict=True)}

    def value(prefix: int) -> float:
        for token in range(language.vocabulary):
            after = language.vocabulary * prefix + 1 + token
            q_DV[prefix, token] = ends[after] if after in ends else gamma * value(after)
        return worth(q_DV[prefix], base_DV[prefix])

    value(0)
    return q_DV


def apart(model: ActionValueModel, exact_DV: Tensor) -> float:
    """The largest difference of either target from what was computed."""
    there_DV = ~exact_DV.isnan()
    found = (model.first_target, model.second_target)
    return max(float((q_VD.T - exact_DV)[there_DV].abs().max()) for q_VD in found)
