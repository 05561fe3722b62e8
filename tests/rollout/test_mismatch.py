"""What is learned from an engine that samples from μ in place of π, by listing every response there is."""

import copy
import itertools
import math
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor

from small import causal, gradients, random_tokens, tokens
from tercih.algorithms.ppo import PPO
from tercih.batches import Rollout
from tercih.forward import Models
from tercih.models.language_model import LanguageModel, Reference
from tercih.rollout.mismatch import Correction, mismatch
from tercih.tokens import Tokens

WORDS = 5


def policy_and_engine(by: float) -> tuple[LanguageModel, LanguageModel]:
    """π, and μ whose head is off by noise of size `by`."""
    policy = LanguageModel(causal(vocabulary=WORDS), value="shared")
    engine = LanguageModel(copy.deepcopy(policy.causal))
    noise = torch.randn(engine.causal.lm_head.weight.shape, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        engine.causal.lm_head.weight += by * noise
    return policy, engine


def every_response(length: int) -> Tokens:
    return tokens([[1, 2]], [list(y) for y in itertools.product(range(WORDS), repeat=length)], [0] * WORDS**length)


def reward_of(all_of_them: Tokens) -> Tensor:
    return torch.rand(all_of_them.rows, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def expected_gradient(
    length: int, level: Literal["token", "sequence", "none"], by: float = 0.2
) -> tuple[Tensor, Tensor]:
    """E_μ of PPO's gradient at the first update with that correction, and ∇ E_π[r]; both of the head."""
    policy, engine = policy_and_engine(by)
    listed = every_response(length)
    with torch.no_grad():
        logp_BT, engine_logp_BT = policy(listed).logp_BT, engine(listed).logp_BT
    chance_B, reward_B = engine_logp_BT.sum(1).exp(), reward_of(listed)
    assert float(chance_B.sum()) == pytest.approx(1)
    correction = Correction(level=level, cap=1e6)
    weighed = replace(listed, correction_BT=correction.weight(logp_BT, engine_logp_BT, listed.loss_mask_BT))
    # PPO's loss is a mean over tokens: the sum over responses of chance × theirs needs the count back
    data = Rollout(
        tokens=weighed,
        logp_BT=logp_BT,
        reward_B=reward_B * chance_B * listed.rows * length,
        ended_B=torch.ones(listed.rows, dtype=torch.bool),
        parts={},
        version=0,
    )
    method = PPO(kl_coef=0.0, lam=1.0, epochs=1, whiten_advantages=False, value_coef=0.0, clip=0.5)
    models = Models(policy=policy, reference=Reference(policy))
    (batch,) = method.batches(data, models, method.init(models))
    loss = method.loss(policy, batch)
    (-loss.terms["policy"].sum / (listed.rows * length)).backward()
    found = policy.causal.lm_head.weight.grad.clone()
    policy.zero_grad()
    (policy(listed).logp_BT.sum(1).exp() * reward_B).sum().backward()
    return found, policy.causal.lm_head.weight.grad


def bias(found: Tensor, true: Tensor) -> float:
    return float((found - true).norm() / true.norm())


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_of_one_token_the_corrected_expectation_is_the_true_gradient(level: Literal["token", "sequence"]) -> None:
    assert bias(*expected_gradient(1, level)) < 1e-9
    assert bias(*expected_gradient(1, "none")) > 0.02  # the control


def test_of_whole_responses_the_product_is_unbiased_and_single_tokens_nearly() -> None:
    exact, nearly, biased = (bias(*expected_gradient(3, level)) for level in ("sequence", "token", "none"))
    assert exact < 1e-9
    assert nearly < 0.7 * biased
    assert biased > 0.02


def test_with_no_mismatch_nothing_has_to_be_corrected() -> None:
    for level in ("token", "sequence", "none"):
        assert bias(*expected_gradient(2, level, by=0.0)) < 1e-9


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_where_both_agree_every_weight_is_exactly_one(level: Literal["token", "sequence"]) -> None:
    batch = random_tokens([2, 1, 3], holes=True)
    model = LanguageModel(causal())
    logp_BT = model(batch).logp_BT.detach()
    weight_BT = Correction(level=level).weight(logp_BT, logp_BT.clone(), batch.loss_mask_BT)
    assert torch.equal(weight_BT, torch.ones_like(weight_BT))
    found = []
    for each in (batch, replace(batch, correction_BT=weight_BT)):
        model.zero_grad()
        model(each).logp_BT.square().sum().backward()
        found.append(gradients(model))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_weights_by_hand() -> None:
    mask_BT = torch.tensor([[True, True, False], [True, True, True]])
    gap_BT = torch.tensor([[0.5, 1.0, math.nan], [-1.0, 0.2, 0.1]]).double()
    zero_BT = torch.zeros_like(gap_BT)
    token = Correction().weight(gap_BT, zero_BT, mask_BT)
    torch.testing.assert_close(token, torch.tensor([[0.5, math.log(2), 0.0], [-1.0, 0.2, 0.1]]).double().exp())
    whole = Correction(level="sequence", cap=1.5).weight(gap_BT, zero_BT, mask_BT)
    torch.testing.assert_close(
        whole, torch.tensor([[math.log(1.5), math.log(1.5), 0.0], [-0.7, -0.7, -0.7]]).double().exp()
    )
    metrics = {k: float(s / c) for k, (s, c) in mismatch(gap_BT, zero_BT, mask_BT, Correction()).items()}
    assert metrics["engine/gap"] == pytest.approx((0.5 + 1.0 + 1.0 + 0.2 + 0.1) / 5)
    assert metrics["engine/largest_gap"] == 1
    k3 = [math.exp(d) - 1 - d for d in (0.5, 1.0, -1.0, 0.2, 0.1)]
    assert metrics["engine/kl"] == pytest.approx(sum(k3) / 5)
    assert metrics["engine/cut_off"] == pytest.approx(1 / 5)
    with pytest.raises(ValueError, match="cap must be >= 1"):
        Correction(cap=0.5)


def test_a_batch_keeps_its_correction_through_every_cut() -> None:
    batch = random_tokens([2, 1, 3])
    weighed = replace(batch, correction_BT=torch.rand(batch.response_ids_BT.shape))
    part = weighed.take(torch.tensor([0, 2]))
    row = torch.isin(batch.prompt_of_B, torch.tensor([0, 2]))
    assert part.correction_BT is not None
    assert torch.equal(part.correction_BT, weighed.correction_BT[row][:, : part.response_ids_BT.shape[1]])
    assert batch.to("cpu").correction_BT is None
