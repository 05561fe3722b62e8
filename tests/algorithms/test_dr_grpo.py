import math
from dataclasses import replace
from statistics import mean
from typing import Any

import pytest
import torch

from algorithms.groups import by_row, first, never, of_groups, setting
from algorithms.test_grpo import clipped
from tercih.algorithms.dr_grpo import DrGRPO, dr_grpo_advantage


def test_the_advantage_by_hand() -> None:
    found_B = dr_grpo_advantage(torch.tensor([1.0, 2.0, 6.0, 5.0, 5.0]), torch.tensor([0, 0, 0, 1, 1]))
    assert found_B.tolist() == [-2, -1, 3, 0, 0]


def test_every_token_counts_the_same_whatever_the_length_of_its_response() -> None:
    models, data = setting()
    method = DrGRPO(kl_coef=0.5, constant_length=10.0)
    terms = method.loss(models.policy, first(method, models, data)).terms
    against_old = by_row(data, models.policy, data.logp_BT)
    against_reference = by_row(data, models.policy, models.reference_logp(data.tokens))
    policy, kl = 0.0, 0.0
    for row, group in enumerate(of_groups(data)):
        advantage = float(data.reward_B[row]) - mean(group)
        policy += sum(clipped(math.exp(x), advantage) for x in against_old[row])
        kl += sum(math.exp(-x) - 1 + x for x in against_reference[row])
    assert float(terms["policy"].sum.detach()) == pytest.approx(-policy, rel=1e-12)
    assert float(terms["kl"].sum.detach()) == pytest.approx(kl, rel=1e-12)
    assert {name: term.weight for name, term in terms.items()} == {"policy": 0.1, "kl": pytest.approx(0.05)}
    assert {term.per for term in terms.values()} == {"rows"}


def test_the_paper_has_no_kl_and_no_reference() -> None:
    models, data = setting()
    assert not DrGRPO().needs_reference
    assert DrGRPO(kl_coef=0.1).needs_reference
    batch = first(DrGRPO(), replace(models, reference=never), data)
    assert set(DrGRPO().loss(models.policy, batch).terms) == {"policy"}
    assert len(list(DrGRPO(epochs=3, minibatches=2).batches(data, models, {}))) == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kl_coef": -1}, "dr_grpo.kl_coef must be >= 0, got -1"),
        ({"clip": -0.1}, "dr_grpo.clip must be >= 0, got -0.1"),
        ({"constant_length": 0}, "dr_grpo.constant_length must be > 0, got 0"),
        ({"epochs": 0}, "dr_grpo.epochs must be > 0, got 0"),
        ({"minibatches": 0}, "dr_grpo.minibatches must be > 0, got 0"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DrGRPO(**options)
