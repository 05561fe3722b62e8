import math
from dataclasses import replace
from statistics import mean, stdev
from typing import Any

import pytest
import torch

from algorithms.groups import by_row, first, never, of_groups, setting
from tercih.algorithms.grpo import GRPO


def clipped(ratio: float, advantage: float, clip: float = 0.2) -> float:
    return min(ratio * advantage, min(max(ratio, 1 - clip), 1 + clip) * advantage)


def test_the_loss_is_equation_3() -> None:
    models, data = setting()
    method = GRPO(kl_coef=0.5)
    terms = method.loss(models.policy, first(method, models, data)).terms
    against_old = by_row(data, models.policy, data.logp_BT)
    against_reference = by_row(data, models.policy, models.reference_logp(data.tokens))
    policy, kl = [], []
    for row, group in enumerate(of_groups(data)):
        advantage = (float(data.reward_B[row]) - mean(group)) / (stdev(group) + 1e-4)
        policy.append(mean(clipped(math.exp(x), advantage) for x in against_old[row]))
        kl.append(mean(math.exp(-x) - 1 + x for x in against_reference[row]))
    assert float(terms["policy"].sum.detach()) == pytest.approx(-sum(policy), rel=1e-12)
    assert float(terms["kl"].sum.detach()) == pytest.approx(sum(kl), rel=1e-12)
    assert {name: (term.per, term.weight) for name, term in terms.items()} == {
        "policy": ("rows", 1),
        "kl": ("rows", 0.5),
    }


def test_the_scale_of_rewards_does_not_matter() -> None:
    models, data = setting()
    once, twice = (first(GRPO(), models, replace(data, reward_B=k * data.reward_B)).advantage_B for k in (100, 200))
    torch.testing.assert_close(once, twice, rtol=1e-5, atol=0)


def test_the_clip_acts_from_the_second_update_on() -> None:
    models, data = setting()
    metrics = GRPO().loss(models.policy, first(GRPO(), models, data)).metrics
    assert 0 < float(metrics["clip_fraction"][0]) < float(metrics["clip_fraction"][1])
    own = replace(data, logp_BT=models.policy(data.tokens).logp_BT.detach())
    assert float(GRPO().loss(models.policy, first(GRPO(), models, own)).metrics["clip_fraction"][0]) == 0
    assert len(list(GRPO(epochs=3, minibatches=2).batches(data, models, {}))) == 6


def test_without_a_coefficient_nobody_asks_the_reference() -> None:
    models, data = setting()
    method = GRPO(kl_coef=0.0)
    assert GRPO().needs_reference
    assert not method.needs_reference
    batch = first(method, replace(models, reference=never), data)
    assert set(method.loss(models.policy, batch).terms) == {"policy"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kl_coef": math.nan}, "grpo.kl_coef must be >= 0, got nan"),
        ({"clip": -0.1}, "grpo.clip must be >= 0, got -0.1"),
        ({"epochs": 0}, "grpo.epochs must be > 0, got 0"),
        ({"minibatches": 0}, "grpo.minibatches must be > 0, got 0"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GRPO(**options)
