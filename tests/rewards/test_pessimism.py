import math

import pytest
import torch

from tercih.rewards.pessimism import PessimisticMLE, maximum_likelihood, theorem_scale

PAIR_NKD = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])


def test_one_comparison_alone_goes_to_the_bound() -> None:
    found_D = maximum_likelihood(PAIR_NKD.double(), bound=3.0)
    assert found_D.tolist() == pytest.approx([3 / math.sqrt(2), -3 / math.sqrt(2)], abs=1e-4)


def test_a_value_by_hand() -> None:
    """Σ = (1, −1)(1, −1)ᵀ, λ = 1: its eigenvalues are 3 and 1, and (1, −1)/√2 belongs to 3."""
    known = PessimisticMLE(bound=1.0, delta=math.exp(-2), scale=0.5).fit(PAIR_NKD)
    assert known.radius == pytest.approx(math.sqrt(0.25 * 4 + 1))
    value_A = known.values(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.tensor([0.0, 1.0]))
    expected = math.sqrt(2) - known.radius * math.sqrt(2 / 3)
    assert value_A.tolist() == pytest.approx(
        [expected, 0.0, 1 / math.sqrt(2) - known.radius * math.sqrt(2 / 3)], abs=1e-4
    )


def test_what_was_never_compared_is_worth_less() -> None:
    feature_NKD = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]] * 50)
    known = PessimisticMLE().fit(feature_NKD)
    sure, unsure = known.values(torch.tensor([[1.0, 0, 0], [0, 0, 1.0]]), torch.tensor([0.0, 1, 0]))
    assert sure > 0 > unsure


def test_the_theorems_scale() -> None:
    assert theorem_scale(PAIR_NKD, bound=2.0) == pytest.approx(
        2 + math.exp(math.sqrt(8)) + math.exp(-math.sqrt(8)), rel=1e-6
    )
    with pytest.raises(ValueError, match="this bound is for pairs, got 3"):
        theorem_scale(torch.zeros(4, 3, 2), 1.0)


@pytest.mark.parametrize(
    ("field", "value"), [("bound", 0), ("delta", 1), ("delta", 0), ("ridge", -1), ("scale", math.nan)]
)
def test_settings_that_cannot_be(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"pessimistic_mle.{field} must be"):
        PessimisticMLE(**{field: value})


def test_features_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"shape \(N, K, D\)"):
        PessimisticMLE().fit(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="not finite"):
        PessimisticMLE().fit(PAIR_NKD * torch.nan)
