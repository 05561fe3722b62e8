import numpy as np
import pytest
from scipy.special import expit

from tercih.evaluation.win_rate import length_controlled_win_rate, win_rate


def test_a_tie_counts_half() -> None:
    estimate = win_rate([1.0, 2.0, 3.0, 0.0], [0.0, 2.0, 4.0, -1.0])
    assert estimate.value == 2.5 / 4
    assert estimate.n == 4


def test_all_ties_are_a_draw_with_an_interval() -> None:
    estimate = win_rate(np.ones(50), np.ones(50))
    assert estimate.value == 0.5
    assert estimate.low < 0.5 < estimate.high


def test_a_score_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        win_rate([float("nan")], [1.0])


def _wins(skill: float, bias: float, generator: np.random.Generator, n: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Ours is longer by 60 ± 40 words; a judge likes it for skill and for length."""
    difference = generator.normal(60, 40, size=n)
    probability = expit(skill + bias * np.tanh(difference / difference.std()))
    return (generator.random(n) < probability).astype(float), difference


def test_a_planted_length_bias_is_taken_out() -> None:
    wins, difference = _wins(skill=0.0, bias=2.0, generator=np.random.default_rng(0))
    raw, controlled = wins.mean(), length_controlled_win_rate(wins, difference)
    assert raw > 0.75
    assert controlled.low < 0.5 < controlled.high
    assert abs(controlled.value - 0.5) < 0.08


def test_skill_survives_the_control() -> None:
    wins, difference = _wins(skill=1.0, bias=0.0, generator=np.random.default_rng(1))
    controlled = length_controlled_win_rate(wins, difference)
    assert controlled.low < expit(1.0) < controlled.high
    assert controlled.low > 0.55


def test_the_interval_covers() -> None:
    generator = np.random.default_rng(2)
    estimates = [length_controlled_win_rate(*_wins(0.5, 1.0, generator, n=300)) for _ in range(300)]
    assert 0.91 < np.mean([e.low <= expit(0.5) <= e.high for e in estimates]) < 0.985


def test_ties_are_soft_labels_and_lengths_may_be_equal() -> None:
    estimate = length_controlled_win_rate([0.5, 0.5, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0])
    assert estimate.value == pytest.approx(0.5, abs=1e-6)


def test_all_wins_stay_finite() -> None:
    estimate = length_controlled_win_rate(np.ones(100), np.arange(-50.0, 50.0))
    assert 0.5 < estimate.low < estimate.value < estimate.high <= 1.0
