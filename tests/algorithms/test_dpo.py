import math

import pytest
import torch

from small import Fixed, causal, random_pairs
from tercih.algorithms.dpo import DPO, dpo_loss
from tercih.batches import Models
from tercih.models.language_model import LanguageModel, Reference
from tercih.ops import row_sum

FIRST, SECOND, TIE = ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0])


def loss(margin: float, target: list[float], beta: float = 0.1, smoothing: float = 0.0) -> float:
    margin_N, target_N3 = torch.tensor([margin], dtype=torch.float64), torch.tensor([target], dtype=torch.float64)
    return float(dpo_loss(margin_N, target_N3, beta, smoothing))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("target", [FIRST, SECOND, TIE, [0.5, 0.2, 0.3]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_log_two_where_the_policy_is_the_reference(target: list[float], smoothing: float) -> None:
    assert loss(0.0, target, smoothing=smoothing) == pytest.approx(math.log(2))


def test_by_hand() -> None:
    assert loss(3.0, FIRST, beta=0.5) == pytest.approx(-math.log(sigmoid(1.5)))
    assert loss(3.0, SECOND, beta=0.5) == pytest.approx(-math.log(sigmoid(-1.5)))
    assert loss(3.0, TIE, beta=0.5) == pytest.approx(loss(-3.0, TIE, beta=0.5))
    soft = 0.6 * loss(3.0, FIRST) + 0.1 * loss(3.0, SECOND) + 0.3 * loss(3.0, TIE)
    assert loss(3.0, [0.6, 0.1, 0.3]) == pytest.approx(soft)
    assert loss(3.0, FIRST, smoothing=0.2) == pytest.approx(0.8 * loss(3.0, FIRST) + 0.2 * loss(3.0, SECOND))


@pytest.mark.parametrize("smoothing", [0.05, 0.2])
@pytest.mark.parametrize("target", [FIRST, SECOND])
def test_a_smoothed_label_has_its_optimum_at_a_finite_margin(smoothing: float, target: list[float]) -> None:
    best = math.log((1 - smoothing) / smoothing) / 0.1 * (1 if target == FIRST else -1)
    margin_N = torch.tensor([best, 2 * best], dtype=torch.float64, requires_grad=True)
    dpo_loss(margin_N, torch.tensor([target] * 2, dtype=torch.float64), 0.1, smoothing).sum().backward()
    assert margin_N.grad is not None
    assert abs(float(margin_N.grad[0])) < 1e-12
    assert float(margin_N.grad[1]) * best > 0, "beyond the optimum the loss must rise again"


def test_it_stays_finite_far_away() -> None:
    assert loss(1e6, SECOND, beta=1.0) == pytest.approx(1e6)
    assert loss(1e6, FIRST, beta=1.0) == 0


def test_the_method_is_the_formula_on_sums_over_the_response() -> None:
    torch.manual_seed(0)
    policy = LanguageModel(causal())
    models = Models(policy=policy, reference=Reference(LanguageModel(causal(seed=1))))
    pairs = random_pairs(5)
    (batch,) = DPO(beta=0.3, label_smoothing=0.1).batches(pairs, models, {})
    found = DPO(beta=0.3, label_smoothing=0.1).loss(policy, batch)
    mask_BT = pairs.tokens.loss_mask_BT
    ratio_B = row_sum(policy(pairs.tokens).logp_BT - models.reference_logp(pairs.tokens), mask_BT)
    margin_N = ratio_B[pairs.first_row_N] - ratio_B[pairs.second_row_N]
    expected = sum(
        weight * loss(margin, target, 0.3, 0.1)
        for weight, margin, target in zip(
            pairs.weight_N.tolist(), margin_N.tolist(), pairs.target_N3.tolist(), strict=True
        )
    )
    assert float(found.terms["dpo"].sum.detach()) == pytest.approx(expected, rel=1e-12)
    assert found.terms["dpo"].per == "comparisons"
    assert float(batch.units()["comparisons"]) == pytest.approx(float(pairs.weight_N.sum()))


def test_without_a_reference_it_says_so() -> None:
    with pytest.raises(ValueError, match=r"needs a reference model: pass Models\(policy=…, reference=…\)"):
        next(DPO().batches(Fixed(random_pairs(2)).item, Models(policy=LanguageModel(causal())), {}))


@pytest.mark.parametrize("beta", [0, -1, math.nan])
def test_beta_must_be_positive(beta: float) -> None:
    with pytest.raises(ValueError, match=r"dpo.beta must be > 0, got"):
        DPO(beta=beta)


@pytest.mark.parametrize("smoothing", [-0.1, 0.5, math.nan])
def test_label_smoothing_must_be_less_than_a_half(smoothing: float) -> None:
    with pytest.raises(ValueError, match=r"dpo.label_smoothing must be in \[0, 0.5\), got"):
        DPO(label_smoothing=smoothing)
