import math

import pytest
import torch

from small import Fixed, causal, random_pairs
from tercih.algorithms.conservative_dpo import ConservativeDPO
from tercih.algorithms.dpo import DPO
from tercih.algorithms.robust_dpo import RobustDPO, robust_loss
from tercih.divergences import DIVERGENCES, implied_slope
from tercih.families import ImpliedReward
from tercih.forward import Models
from tercih.models.language_model import LanguageModel, Reference
from tercih.ops import chance_of_first, logistic_loss, row_sum

FIRST, SECOND, TIE = ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0])


def loss(method: ImpliedReward, difference: float, target: list[float]) -> float:
    chance_N = chance_of_first(torch.tensor([target], dtype=torch.float64))
    return float(method.compared(torch.tensor([difference], dtype=torch.float64), chance_N))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("target", [FIRST, SECOND, TIE, [0.5, 0.2, 0.3]])
@pytest.mark.parametrize("method", [DPO(), ConservativeDPO(flipped=0.1)])
def test_log_two_where_the_policy_is_the_reference(target: list[float], method: ImpliedReward) -> None:
    assert loss(method, 0.0, target) == pytest.approx(math.log(2))


def test_by_hand() -> None:
    dpo = DPO()
    assert loss(dpo, 1.5, FIRST) == pytest.approx(-math.log(sigmoid(1.5)))
    assert loss(dpo, 1.5, SECOND) == pytest.approx(-math.log(sigmoid(-1.5)))
    assert loss(dpo, 1.5, TIE) == pytest.approx(loss(dpo, -1.5, TIE))
    soft = 0.6 * loss(dpo, 1.5, FIRST) + 0.1 * loss(dpo, 1.5, SECOND) + 0.3 * loss(dpo, 1.5, TIE)
    assert loss(dpo, 1.5, [0.6, 0.1, 0.3]) == pytest.approx(soft)
    smoothed = 0.8 * loss(dpo, 1.5, FIRST) + 0.2 * loss(dpo, 1.5, SECOND)
    assert loss(ConservativeDPO(flipped=0.2), 1.5, FIRST) == pytest.approx(smoothed)


@pytest.mark.parametrize("flipped", [0.05, 0.2])
@pytest.mark.parametrize("target", [FIRST, SECOND])
def test_a_smoothed_label_has_its_optimum_at_a_finite_margin(flipped: float, target: list[float]) -> None:
    best = math.log((1 - flipped) / flipped) * (1 if target == FIRST else -1)
    difference_N = torch.tensor([best, 2 * best], dtype=torch.float64, requires_grad=True)
    chance_N = chance_of_first(torch.tensor([target] * 2, dtype=torch.float64))
    ConservativeDPO(flipped=flipped).compared(difference_N, chance_N).sum().backward()
    assert difference_N.grad is not None
    assert abs(float(difference_N.grad[0])) < 1e-12
    assert float(difference_N.grad[1]) * best > 0, "beyond the optimum the loss must rise again"


@pytest.mark.parametrize("flipped", [0.1, 0.3, 0.45])
def test_turned_around_labels_cost_in_the_mean_what_the_true_ones_cost(flipped: float) -> None:
    difference_N = torch.linspace(-4, 4, 9, dtype=torch.float64)
    right_N, wrong_N = torch.ones_like(difference_N), torch.zeros_like(difference_N)
    mean_N = (1 - flipped) * robust_loss(difference_N, right_N, flipped) + flipped * robust_loss(
        difference_N, wrong_N, flipped
    )
    torch.testing.assert_close(mean_N, logistic_loss(difference_N, right_N), rtol=0, atol=1e-12)


def test_it_stays_finite_far_away() -> None:
    assert loss(DPO(), 1e6, SECOND) == pytest.approx(1e6)
    assert loss(DPO(), 1e6, FIRST) == 0


@pytest.mark.parametrize("divergence", [name for name, one in DIVERGENCES.items() if one.barrier])
def test_the_method_is_the_formula_on_sums_over_the_response(divergence: str) -> None:
    policy = LanguageModel(causal())
    models = Models(policy=policy, reference=Reference(LanguageModel(causal(seed=1))))
    pairs, method = random_pairs(5), ConservativeDPO(beta=0.3, flipped=0.1, divergence=divergence)
    (batch,) = method.batches(pairs, models, {})
    found = method.loss(policy, batch)
    mask_BT = pairs.tokens.loss_mask_BT
    ratio_B = row_sum(policy(pairs.tokens).logp_BT - models.reference_logp(pairs.tokens), mask_BT)
    reward_B = 0.3 * DIVERGENCES[divergence].slope(ratio_B)
    difference_N = reward_B[pairs.first_row_N] - reward_B[pairs.second_row_N]
    expected = sum(
        weight * loss(method, difference, target)
        for weight, difference, target in zip(
            pairs.weight_N.tolist(), difference_N.tolist(), pairs.target_N3.tolist(), strict=True
        )
    )
    assert float(found.terms["preference"].sum.detach()) == pytest.approx(expected, rel=1e-12)
    assert found.terms["preference"].per == "comparisons"
    assert float(batch.units()["comparisons"]) == pytest.approx(float(pairs.weight_N.sum()))


@pytest.mark.parametrize("name", DIVERGENCES)
def test_a_slope_is_the_derivative_of_its_divergence(name: str) -> None:
    """Σ π0 f(π/π0) is never negative, 0 for π = π0, and its gradient is f'(π/π0): from finite differences."""
    functions = {
        "reverse_kl": lambda u: u * math.log(u),
        "forward_kl": lambda u: -math.log(u),
        "js": lambda u: u * math.log(u) - (u + 1) * math.log((u + 1) / 2),
        "hellinger": lambda u: 2 * (1 - math.sqrt(u)) ** 2,
        "chi2_kl": lambda u: 0.5 * (u - 1) ** 2 + u * math.log(u),
        "neyman_chi2": lambda u: (u - 1) ** 2 / u,
        "pearson_chi2": lambda u: (u - 1) ** 2,
        "tv": lambda u: abs(u - 1) / 2,
    }
    f, step = functions[name], 1e-6
    at = [0.2, 0.7, 1.5, 4.0]
    slopes = DIVERGENCES[name].slope(torch.tensor(at, dtype=torch.float64).log())
    numbers = torch.tensor([(f(u + step) - f(u - step)) / (2 * step) for u in at], dtype=torch.float64)
    off = slopes - numbers  # up to a constant
    assert float((off - off[0]).abs().max()) < 1e-6


@pytest.mark.parametrize("name", ["pearson_chi2", "tv"])
def test_a_divergence_without_a_barrier_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"dpo\.divergence='{name}' has no closed form: f'\(0\) is finite"):
        DPO(divergence=name)


def test_what_is_no_divergence_is_refused() -> None:
    with pytest.raises(ValueError, match="divergence must be one of reverse_kl, forward_kl, js"):
        implied_slope("kl")


def test_without_a_reference_it_says_so() -> None:
    with pytest.raises(ValueError, match=r"needs a reference model: pass Models\(policy=…, reference=…\)"):
        next(DPO().batches(Fixed(random_pairs(2)).item, Models(policy=LanguageModel(causal())), {}))


@pytest.mark.parametrize("kind", [ConservativeDPO, RobustDPO])
@pytest.mark.parametrize("flipped", [-0.1, 0.5])
def test_labels_that_are_wrong_as_often_as_right_say_nothing(kind: type[ConservativeDPO], flipped: float) -> None:
    with pytest.raises(ValueError, match=r"flipped must be in \[0, 0.5\), got"):
        kind(flipped=flipped)


def test_beta_must_be_above_zero() -> None:
    with pytest.raises(ValueError, match=r"dpo\.beta must be > 0, got 0"):
        DPO(beta=0)
