from dataclasses import replace

import pytest
import torch

from algorithms.groups import by_row, first, never, of_groups, setting
from tercih.algorithms.rloo import RLOO, rloo_advantage
from tercih.forward import Models


def test_the_advantage_by_hand() -> None:
    found_B = rloo_advantage(torch.tensor([1.0, 2.0, 6.0, 5.0, 5.0]), torch.tensor([0, 0, 0, 1, 1]))
    assert found_B.tolist() == [-3, -1.5, 4.5, 0, 0]


def test_the_kl_of_a_whole_response_is_part_of_its_reward() -> None:
    models, data = setting()
    batch = first(RLOO(kl_coef=0.5), models, data)
    reference_BT, mask_BT = models.reference_logp(data.tokens), data.tokens.loss_mask_BT
    kl = [float((data.logp_BT[b] - reference_BT[b])[mask_BT[b]].sum()) for b in range(data.tokens.rows)]
    penalised_B = data.reward_B - 0.5 * torch.tensor(kl, dtype=torch.float64)
    torch.testing.assert_close(batch.advantage_B, rloo_advantage(penalised_B, data.tokens.prompt_of_B))
    assert float(RLOO().loss(models.policy, batch).metrics["kl"][0]) == pytest.approx(sum(kl))


def test_a_response_is_one_action() -> None:
    models, data = setting()
    method = RLOO(kl_coef=0.0)
    batch = first(method, models, data)
    term = method.loss(models.policy, batch).terms["policy"]
    logp = [sum(row) for row in by_row(data, models.policy, torch.zeros(()))]
    groups, reward = of_groups(data), data.reward_B.tolist()
    advantage = [r - (sum(group) - r) / (len(group) - 1) for r, group in zip(reward, groups, strict=True)]
    assert float(term.sum.detach()) == pytest.approx(
        -sum(a * x for a, x in zip(advantage, logp, strict=True)), rel=1e-12
    )
    assert (term.per, term.weight) == ("rows", 1)


def test_without_a_coefficient_nobody_asks_the_reference() -> None:
    models, data = setting()
    assert RLOO().needs_reference
    assert not RLOO(kl_coef=0.0).needs_reference
    batch = first(RLOO(kl_coef=0.0), replace(models, reference=never), data)
    assert "kl" not in RLOO(kl_coef=0.0).loss(models.policy, batch).metrics
    with pytest.raises(ValueError, match="needs a reference model"):
        first(RLOO(), Models(policy=models.policy), data)


def test_a_single_response_is_no_group() -> None:
    models, data = setting([2, 1])
    with pytest.raises(ValueError, match="prompt 1 of a rollout has only one response"):
        first(RLOO(), models, data)


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match=r"rloo.kl_coef must be >= 0, got -1"):
        RLOO(kl_coef=-1)
