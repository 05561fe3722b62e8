import math
from dataclasses import replace
from statistics import mean, stdev
from typing import Any

import pytest
import torch

from algorithms.groups import by_row, first, never, of_groups, setting
from tercih.algorithms.grpo import GRPO
from tercih.algorithms.gspo import GSPO


def test_the_loss_is_equation_5() -> None:
    models, data = setting()
    method = GSPO(kl_coef=0.5, clip_low=0.1, clip_high=0.15, minibatches=1)
    loss = method.loss(models.policy, first(method, models, data))
    against_old = by_row(data, models.policy, data.logp_BT)
    expected, stopped = 0.0, 0
    for row, group in enumerate(of_groups(data)):
        advantage = (float(data.reward_B[row]) - mean(group)) / (stdev(group) + 1e-4)
        ratio = math.exp(mean(against_old[row]))
        expected -= min(ratio * advantage, min(max(ratio, 0.9), 1.15) * advantage)
        stopped += ratio > 1.15 if advantage > 0 else ratio < 0.9
    assert float(loss.terms["policy"].sum.detach()) == pytest.approx(expected, rel=1e-12)
    assert (loss.terms["policy"].per, loss.terms["kl"].per, loss.terms["kl"].weight) == ("rows", "rows", 0.5)
    assert [float(x) for x in loss.metrics["clip_fraction"]] == [stopped, data.tokens.rows]
    assert 0 < stopped < data.tokens.rows


def test_at_ratio_one_it_is_grpo() -> None:
    models, data = setting()
    own = replace(data, logp_BT=models.policy(data.tokens).logp_BT.detach())
    found = []
    for method in (GSPO(kl_coef=0.3, minibatches=1), GRPO(kl_coef=0.3)):
        terms = method.loss(models.policy, first(method, models, own)).terms.values()
        total = torch.stack([term.weight * term.sum for term in terms]).sum()
        found.append(torch.autograd.grad(total, models.policy.causal.lm_head.weight)[0])
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)


def test_the_paper_has_no_kl_and_four_minibatches() -> None:
    models, data = setting()
    assert not GSPO().needs_reference
    assert GSPO(kl_coef=0.1).needs_reference
    batches = list(GSPO().batches(data, replace(models, reference=never), {}))
    assert [batch.tokens.prompts for batch in batches] == [1] * 4  # type: ignore[union-attr]
    assert set(GSPO().loss(models.policy, batches[0]).terms) == {"policy"}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kl_coef": -1}, "gspo.kl_coef must be >= 0, got -1"),
        ({"clip_low": -0.1}, "gspo.clip_low must be >= 0, got -0.1"),
        ({"clip_high": math.nan}, "gspo.clip_high must be >= 0, got nan"),
        ({"epochs": 0}, "gspo.epochs must be > 0, got 0"),
        ({"minibatches": 0}, "gspo.minibatches must be > 0, got 0"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GSPO(**options)
