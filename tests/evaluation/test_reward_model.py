import numpy as np
import pytest

from tercih.evaluation.reward_model import accuracy, calibration, length_baseline, length_sign


def test_accuracy_counts_signs_halves_and_leaves_out_the_undecided() -> None:
    estimate = accuracy(margin=[1.0, -1.0, 0.0, 2.0, 5.0], target=[1.0, 0.0, 1.0, 0.2, 0.5])
    assert estimate.value == (1 + 1 + 0.5 + 0) / 4
    assert estimate.n == 4


def test_accuracy_of_undecided_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="no pair is decided"):
        accuracy([1.0], [0.5])


def test_calibration_by_hand() -> None:
    result = calibration([0.1, 0.1, 0.9, 1.0], [0.0, 1.0, 1.0, 1.0], bins=2)
    low, high = result.bins
    assert (low.low, low.high, low.count, high.count) == (0.0, 0.5, 2, 2)
    assert (low.confidence, low.accuracy) == pytest.approx((0.1, 0.5))
    assert result.ece == pytest.approx(0.5 * 0.4 + 0.5 * 0.05)
    assert set(result.as_dict()) == {"ece", "bins"}


def test_a_calibrated_forecast_has_a_small_error_and_an_overconfident_one_has_not() -> None:
    generator = np.random.default_rng(0)
    p = generator.random(5000)
    came_true = (generator.random(5000) < p).astype(float)
    assert calibration(p, came_true).ece < 0.03
    assert calibration(np.where(p > 0.5, 0.99, 0.01), came_true).ece > 0.2


def test_the_length_baseline_takes_its_sign_from_the_training_pairs() -> None:
    shorter_is_better = ([10, 20, 30], [20, 30, 10], [1.0, 1.0, 0.0])
    assert length_sign(*shorter_is_better) == -1
    assert length_baseline(*shorter_is_better).value == 0.0
    assert length_baseline(*shorter_is_better, sign=-1).value == 1.0
    with pytest.raises(ValueError, match="sign"):
        length_baseline(*shorter_is_better, sign=0)


def test_rows_must_match() -> None:
    with pytest.raises(ValueError, match="equal rows"):
        accuracy([1.0, 2.0], [1.0])
