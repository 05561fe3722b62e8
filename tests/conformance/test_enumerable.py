"""The enumerable language model against sums and products written out by hand."""

import math
from itertools import product

import numpy as np
import pytest
import torch

from tercih.conformance.enumerable import EnumLM, Language, distribution, divergence, optimum, total_variation
from tercih.conformance.lab import Lab, Sampled, World, generator
from tercih.forward import Want
from tercih.models.language_model import LanguageModel

FIXED = Language(vocabulary=4, length=4)
ENDING = Language(vocabulary=3, length=3, end=0)
LANGUAGES = pytest.mark.parametrize("language", [FIXED, ENDING], ids=str)


def by_hand(table_DV: np.ndarray, answer: tuple[int, ...]) -> float:
    """Π softmax(row of the prefix)[token], with prefixes numbered level by level."""
    vocabulary, p = table_DV.shape[1], 1.0
    for t, token in enumerate(answer):
        before = sum(vocabulary**depth for depth in range(t))
        place = sum(v * vocabulary ** (t - 1 - i) for i, v in enumerate(answer[:t]))
        odds = np.exp(table_DV[before + place])
        p *= odds[token] / odds.sum()
    return p


def test_languages_list_every_answer_once() -> None:
    assert FIXED.answers == list(product(range(4), repeat=4))
    assert str(FIXED) == "256 answers of 4 tokens"
    assert str(ENDING) == "15 answers of 1-3 tokens"
    for answer in ENDING.answers:
        assert 0 not in answer[:-1]
        assert len(answer) == 3 or answer[-1] == 0


@LANGUAGES
def test_prefixes_have_numbers_of_their_own(language: Language) -> None:
    number_of = {answer[:t]: n for answer in language.answers for t, n in enumerate(language.path(answer))}
    assert len(set(number_of.values())) == len(number_of)
    assert max(number_of.values()) < language.prefixes


@LANGUAGES
def test_probabilities_are_products_of_softmaxes(language: Language) -> None:
    world = World(language=language, key=(3,))
    expected = [by_hand(world.logits_DV.numpy(), answer) for answer in language.answers]
    np.testing.assert_allclose(world.base_Y.numpy(), expected, rtol=1e-12)
    assert math.isclose(float(world.base_Y.sum()), 1, rel_tol=1e-12)


@LANGUAGES
def test_gradients_are_finite_differences(language: Language) -> None:
    world = World(language=language, key=(4,))
    policy = world.policy()
    weight_VD = policy.causal.table.weight

    def expected_reward() -> torch.Tensor:
        logp_YT = policy(language.all).logp_BT
        return logp_YT.sum(1).exp() @ world.reward_Y

    (gradient_VD,) = torch.autograd.grad(expected_reward(), weight_VD)
    for v, d in [(0, 0), (1, 0), (2, 1), (1, 3), (2, 4)]:
        ends = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                weight_VD[v, d] += step
                ends.append(float(expected_reward()))
                weight_VD[v, d] -= step
        assert math.isclose(float(gradient_VD[v, d]), (ends[0] - ends[1]) / 2e-5, rel_tol=1e-5, abs_tol=1e-9)


def test_value_heads_are_tables_too() -> None:
    policy = World(language=ENDING, key=(5,)).policy(value="shared")
    assert policy.value_head is not None
    with torch.no_grad():
        policy.value_head.weight.copy_(torch.arange(ENDING.prefixes)[None])
        value_YT = policy(ENDING.all, Want(value=True)).value_BT
    for row, answer in enumerate(ENDING.answers):
        assert value_YT[row, : len(answer)].tolist() == ENDING.path(answer)[:-1]


def test_a_score_belongs_to_a_whole_answer() -> None:
    world = World(language=ENDING, key=(5,))
    scorer = world.scorer()
    with torch.no_grad():
        scorer.score_head.weight.copy_(torch.arange(ENDING.prefixes)[None])
    assert world.score(scorer).tolist() == [ENDING.path(answer)[-1] for answer in ENDING.answers]


def test_the_optimum_is_the_highest_point() -> None:
    world, beta = World(language=ENDING, key=(6,)), 0.7
    target_Y = optimum(world.base_Y, world.reward_Y, beta)
    weight = world.base_Y.numpy() * np.exp(world.reward_Y.numpy() / beta)
    np.testing.assert_allclose(target_Y.numpy(), weight / weight.sum(), rtol=1e-12)

    def objective(p_Y: torch.Tensor) -> float:
        return float(p_Y @ world.reward_Y) - beta * divergence(p_Y, world.base_Y)

    assert math.isclose(objective(target_Y), beta * math.log(weight.sum()), rel_tol=1e-12)
    for i in range(20):
        nearby_Y = (target_Y.log() + 0.1 * torch.randn(len(target_Y), generator=generator(i))).softmax(0)
        assert objective(nearby_Y) < objective(target_Y)


def test_distances() -> None:
    p, q = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.25, 0.25, 0.5])
    assert total_variation(p, q) == 0.5
    assert math.isclose(divergence(p, q), math.log(2), rel_tol=1e-6)


def rollouts(key: tuple[int, ...], *, rows: int = 64, shuffled: bool = False) -> Sampled:
    world = Lab().worlds[0]
    policy = LanguageModel(EnumLM(world.language, world.logits_DV))
    return Sampled(
        language=world.language,
        policy=policy,
        reward_Y=world.reward_Y,
        steps=9,
        rows=rows,
        key=key,
        shuffled=shuffled,
    )


def test_rollouts_depend_on_key_and_step_alone() -> None:
    first, again = rollouts((1,))(3), rollouts((1,))(3)
    assert torch.equal(first.tokens.response_ids_BT, again.tokens.response_ids_BT)
    assert torch.equal(first.logp_BT, again.logp_BT)
    for other in (rollouts((1,))(4), rollouts((2,))(3)):
        assert not torch.equal(first.tokens.response_ids_BT, other.tokens.response_ids_BT)


def test_rollouts_follow_the_policy() -> None:
    data = rollouts((1,), rows=100_000)
    rollout = data(0)
    p_Y = distribution(data.policy, data.language)
    share = [float((rollout.reward_B == reward).double().mean()) for reward in data.reward_Y]
    assert total_variation(torch.tensor(share, dtype=torch.float64), p_Y) < 0.015
    torch.testing.assert_close(data.policy(rollout.tokens).logp_BT.detach(), rollout.logp_BT)


def test_shuffling_moves_rewards_and_nothing_else() -> None:
    plain, shuffled = rollouts((1,))(0), rollouts((1,), shuffled=True)(0)
    assert torch.equal(plain.tokens.response_ids_BT, shuffled.tokens.response_ids_BT)
    assert not torch.equal(plain.reward_B, shuffled.reward_B)
    assert torch.equal(plain.reward_B.sort().values, shuffled.reward_B.sort().values)
