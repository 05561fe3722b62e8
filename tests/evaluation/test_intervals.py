import numpy as np
import pytest

from tercih.evaluation.intervals import Estimate, bootstrap_mean, correlation, paired_difference, wilson


def test_wilson_equals_a_hand_computed_interval() -> None:
    # Wilson's interval of 10 out of 20 is symmetric: 0.5 ± z√(n + z²)·… = (0.2993, 0.7007)
    estimate = wilson(10, 20)
    assert (estimate.value, estimate.n) == (0.5, 20)
    assert estimate.low == pytest.approx(0.2993, abs=1e-4)
    assert estimate.high == pytest.approx(0.7007, abs=1e-4)


def test_wilson_of_all_successes_does_not_shrink_to_a_point() -> None:
    estimate = wilson(10, 10)
    assert estimate.low == pytest.approx(10 / (10 + 1.959964**2), abs=1e-6)
    assert estimate.high == 1.0
    assert wilson(0, 10).low == 0.0


def test_an_estimate_reads_well_and_goes_to_json() -> None:
    estimate = Estimate(0.71234, 0.66, 0.75, 400)
    assert str(estimate) == "0.712 [0.66, 0.75] (n = 400)"
    assert estimate.as_dict() == {"value": 0.71234, "low": 0.66, "high": 0.75, "n": 400}


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_wilson_covers(p: float) -> None:
    counts = np.random.default_rng(0).binomial(40, p, size=2000).tolist()
    inside = [(interval := wilson(count, 40)).low <= p <= interval.high for count in counts]
    assert 0.93 < np.mean(inside) < 0.975


@pytest.mark.parametrize("n", [8, 50])
def test_bootstrap_covers_even_with_few_values(n: int) -> None:
    draws = np.random.default_rng(1).normal(3.0, 2.0, size=(300, n))
    inside = [(one := bootstrap_mean(row, seed=i, resamples=400)).low <= 3.0 <= one.high for i, row in enumerate(draws)]
    assert 0.92 < np.mean(inside) < 0.98


def test_bootstrap_is_a_function_of_its_seed() -> None:
    values = np.arange(20.0)
    assert bootstrap_mean(values, seed=3) == bootstrap_mean(values, seed=3)
    assert bootstrap_mean(values, seed=3) != bootstrap_mean(values, seed=4)


def test_a_higher_level_gives_a_wider_interval() -> None:
    values = np.arange(20.0)
    narrow, wide = bootstrap_mean(values, 0, level=0.8), bootstrap_mean(values, 0, level=0.99)
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high


def test_pairing_removes_what_the_pairs_share() -> None:
    generator = np.random.default_rng(0)
    difficulty = generator.normal(0, 10, size=60)
    a, b = difficulty + 0.5 + generator.normal(0, 0.1, 60), difficulty + generator.normal(0, 0.1, 60)
    paired = paired_difference(a, b, seed=0)
    assert paired.low < 0.5 < paired.high
    assert paired.high - paired.low < 0.15


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wilson(1, 0), "at least one sample"),
        (lambda: wilson(3, 2), "successes"),
        (lambda: wilson(1, 2, level=95), "level"),
        (lambda: bootstrap_mean([1.0], 0), "at least two"),
        (lambda: bootstrap_mean([1.0, float("nan")], 0), "1 of 2 values are not finite"),
        (lambda: paired_difference([1.0, 2.0], [1.0], 0), "equal shapes"),
    ],
)
def test_bad_input_is_named(call, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        call()


def test_a_correlation_draws_whole_groups() -> None:
    dice = np.random.default_rng(0)
    group = np.repeat(np.arange(10), 20)
    a = np.repeat(dice.normal(size=10), 20)  # twenty times the same: ten samples, and not two hundred
    b = np.repeat(dice.normal(size=10), 20)
    grouped, alone = correlation(a, b, group, 0), correlation(a, b, np.arange(200), 0)
    assert grouped
    assert alone
    assert grouped.value == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)
    same = correlation(a, 2 * a + 1, group, 0)
    assert same
    assert same.low == pytest.approx(1.0)
    assert correlation(a, np.ones(200), group, 0) is None
    assert correlation([1, 2], [1, 2], [0, 1], 0) is None
    with pytest.raises(ValueError, match="equal shapes"):
        correlation([1, 2], [1, 2, 3], [0, 1], 0)
