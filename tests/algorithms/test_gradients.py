"""Policy gradients by hand: baselines, weights of minimum risk training, returns."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from algorithms.groups import first, never, setting
from tercih.algorithms.a2c import A2C
from tercih.algorithms.mrt import MRT, mrt_weights
from tercih.algorithms.reinforce import REINFORCE, within_half
from tercih.algorithms.reinforce_pp import ReinforcePP, returns_to_go
from tercih.batches import Compared, Credited
from tercih.method import Method


def test_rewards_within_a_half() -> None:
    assert within_half(torch.tensor([3.0, 1.0, 2.0])).tolist() == [0.5, -0.5, 0.0]
    assert within_half(torch.tensor([3.0, 3.0])).tolist() == [0.0, 0.0]


def test_the_running_mean_is_of_the_rollouts_before() -> None:
    models, data = setting()
    method = REINFORCE()
    state = method.init(models)
    assert first(method, replace(models, reference=never), data).advantage_B.equal(data.reward_B)
    state = method.after(state, data, {})
    (batch,) = method.batches(data, models, state)
    assert isinstance(batch, Compared)
    torch.testing.assert_close(batch.advantage_B, data.reward_B - data.reward_B.mean())
    state = method.after(state, replace(data, reward_B=data.reward_B + 3), {})
    assert state == {"mean": pytest.approx(float(data.reward_B.mean()) + 1.5), "rollouts": 2}


def test_the_running_mean_knows_the_kl_penalty() -> None:
    models, data = setting()
    method = REINFORCE(kl_coef=0.5)
    batch = first(method, models, data)
    kl, rows = method.loss(models.policy, batch).metrics["kl"]
    state = method.after(method.init(models), data, {"kl": float(kl / rows)})
    assert state["mean"] == pytest.approx(float(batch.advantage_B.mean()))


def test_constant_and_scaled_rewards() -> None:
    models, data = setting()
    assert first(REINFORCE(reward="constant", baseline="none"), models, data).advantage_B.unique().tolist() == [1.0]
    scaled_B = first(REINFORCE(reward="scaled", baseline="none"), models, data).advantage_B
    assert (float(scaled_B.min()), float(scaled_B.max())) == (-0.5, 0.5)


def test_weights_of_minimum_risk_training_by_hand() -> None:
    logp_B = torch.tensor([math.log(0.1), math.log(0.4), math.log(0.25)])
    prompt_of_B = torch.tensor([0, 0, 1])
    torch.testing.assert_close(mrt_weights(logp_B, prompt_of_B, 1.0), torch.tensor([0.2, 0.8, 1.0]))
    torch.testing.assert_close(mrt_weights(logp_B, prompt_of_B, 0.5), torch.tensor([1 / 3, 2 / 3, 1.0]))
    assert mrt_weights(torch.tensor([-2000.0, -2001.0]), torch.tensor([0, 0]), 1.0).isfinite().all()


def test_the_risk_is_a_mean_over_prompts() -> None:
    models, data = setting()
    loss = MRT(alpha=1e-9).loss(models.policy, data)
    term, prompt_of_B = loss.terms["risk"], data.tokens.prompt_of_B
    means = [data.reward_B[prompt_of_B == p].mean() for p in range(data.tokens.prompts)]
    assert float(term.sum.detach()) == pytest.approx(-float(sum(means)), rel=1e-6)
    assert term.per == "prompts"


def test_a_single_response_has_no_risk() -> None:
    models, data = setting([2, 1])
    with pytest.raises(ValueError, match="prompt 1 of a rollout has only one response"):
        MRT().loss(models.policy, data)


def test_returns_to_go_by_hand() -> None:
    mask_BT = torch.tensor([[True, False, True, True], [True, True, False, False]])
    reward_BT = torch.tensor([[1.0, 9.0, 2.0, 4.0], [3.0, -1.0, 9.0, 9.0]])
    assert returns_to_go(reward_BT, mask_BT).tolist() == [[7, 0, 6, 4], [2, -1, 0, 0]]


def test_returns_are_normalised_over_all_tokens() -> None:
    models, data = setting()
    (batch,) = ReinforcePP().batches(data, models, {"updates": 0})
    assert isinstance(batch, Credited)
    advantage_M = batch.advantage_BT[data.tokens.loss_mask_BT]
    assert float(advantage_M.mean()) == pytest.approx(0, abs=1e-12)
    assert float(advantage_M.std(unbiased=False)) == pytest.approx(1, abs=1e-6)


def test_the_mean_of_a_group_is_taken_off_before_returns_are_normalised() -> None:
    """Four answers of one token, without KL: 1 and 5 to one prompt, 4 and 4 to another; their means are 3 and 4, what
    is left is -2, 2, 0, 0 with the deviation √2."""
    models, data = setting([2, 2])
    mask_BT = torch.zeros_like(data.tokens.loss_mask_BT)
    mask_BT[:, 0] = True
    paid = replace(
        data,
        tokens=replace(data.tokens, loss_mask_BT=mask_BT),
        reward_B=torch.tensor([1.0, 5.0, 4.0, 4.0], dtype=torch.float64),
    )
    method = ReinforcePP(kl_coef=0.0, group_baseline=True)
    (batch,) = method.batches(paid, models, {"updates": 0})
    assert isinstance(batch, Credited)
    root = math.sqrt(2)
    assert batch.advantage_BT[:, 0].tolist() == pytest.approx([-root, root, 0, 0], abs=1e-6)
    assert method.needs_groups
    assert not ReinforcePP().needs_groups


def test_a_single_response_has_no_group() -> None:
    models, data = setting([2, 1])
    with pytest.raises(ValueError, match="prompt 1 of a rollout has only one response"):
        list(ReinforcePP(group_baseline=True).batches(data, models, {"updates": 0}))


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (REINFORCE, {"baseline": "best"}, "reinforce.baseline must be one of none, running_mean, got 'best'"),
        (REINFORCE, {"reward": "none"}, "reinforce.reward must be one of as_is, scaled, constant, got 'none'"),
        (REINFORCE, {"reward": "constant"}, "nothing would be learned; set reinforce.baseline='none'"),
        (REINFORCE, {"kl_coef": -1}, "reinforce.kl_coef must be >= 0, got -1"),
        (MRT, {"alpha": 0}, "mrt.alpha must be > 0, got 0"),
        (A2C, {"lam": 2}, r"a2c.lam must be in \[0, 1\], got 2"),
        (A2C, {"entropy_coef": math.nan}, "a2c.entropy_coef must be >= 0, got nan"),
        (ReinforcePP, {"clip": -1}, "reinforce_pp.clip must be >= 0, got -1"),
        (ReinforcePP, {"epochs": 0}, "reinforce_pp.epochs must be > 0, got 0"),
    ],
)
def test_options_are_checked(kind: type[Method], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**options)
