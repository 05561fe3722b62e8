import math
from dataclasses import replace
from statistics import mean, stdev
from typing import Any

import pytest
import torch

from algorithms.groups import by_row, first, of_groups, setting
from small import Fixed
from tercih.algorithms.dapo import DAPO
from tercih.batches import Rollout
from tercih.forward import Models
from tercih.optimisation import Optimisation
from tercih.train import fit

ONE = DAPO(minibatches=1)


def partly_flat() -> tuple[Models, Rollout]:
    """The first and the last group have no spread."""
    models, data = setting()
    flat_B = (data.tokens.prompt_of_B == 0) | (data.tokens.prompt_of_B == 3)
    return models, replace(data, reward_B=torch.where(flat_B, 0.1, data.reward_B))


def test_groups_without_spread_are_left_out() -> None:
    models, data = partly_flat()
    batch = first(ONE, models, data)
    assert batch.tokens.prompts == 2
    assert (batch.advantage_B != 0).all()
    assert int(batch.units()["tokens"]) == int(data.tokens.loss_mask_BT[2:7].sum())
    total, count = data.describe()["spread"]
    assert float(total / count) == 0.5


def test_the_loss_is_equation_12() -> None:
    models, data = partly_flat()
    batch = first(ONE, models, data)
    term = ONE.loss(models.policy, batch).terms["policy"]
    against_old, expected = by_row(data, models.policy, data.logp_BT), 0.0
    for row, group in enumerate(of_groups(data)):
        if len(set(group)) > 1:
            advantage = (float(data.reward_B[row]) - mean(group)) / (stdev(group) + 1e-4)
            for x in against_old[row]:
                ratio = math.exp(x)
                expected -= min(ratio * advantage, min(max(ratio, 0.8), 1.28) * advantage)
    assert float(term.sum.detach()) == pytest.approx(expected, rel=1e-12)
    assert (term.per, term.weight) == ("tokens", 1)


def test_where_no_group_has_spread_there_is_no_update() -> None:
    models, data = setting()
    flat = replace(data, reward_B=torch.full_like(data.reward_B, 1 / 3), parts={})
    assert not list(DAPO().batches(flat, models, {}))
    before = [p.detach().clone() for p in models.policy.parameters()]
    metrics = fit(DAPO(), models, Fixed(flat), Optimisation(lr=0.1))
    assert (metrics["spread"], metrics["reward"]) == (0, pytest.approx(1 / 3))
    assert "loss" not in metrics
    assert all(torch.equal(p, old) for p, old in zip(models.policy.parameters(), before, strict=True))


def test_fewer_groups_than_minibatches_make_an_update_each() -> None:
    models, data = partly_flat()
    assert [batch.tokens.prompts for batch in DAPO(minibatches=16).batches(data, models, {})] == [1, 1]  # type: ignore[union-attr]
    assert len(list(DAPO(minibatches=2, epochs=3).batches(data, models, {}))) == 6


def test_there_is_no_reference() -> None:
    models, data = setting()
    assert not DAPO().needs_reference
    assert first(ONE, Models(policy=models.policy), data).reference_logp_BT is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip_low": -0.1}, "dapo.clip_low must be >= 0, got -0.1"),
        ({"clip_high": math.nan}, "dapo.clip_high must be >= 0, got nan"),
        ({"epochs": 0}, "dapo.epochs must be > 0, got 0"),
        ({"minibatches": 0}, "dapo.minibatches must be > 0, got 0"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DAPO(**options)
