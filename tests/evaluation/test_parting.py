import pytest

from tercih.evaluation.parting import parted

RISING, FALLING = [float(s) for s in range(20)], [float(-s) for s in range(20)]
FEWER = [9.0] * 10 + [3.0] * 10
ASKED = [10.0] * 20


def test_the_alarm_needs_both() -> None:
    found = parted(RISING, FEWER, ASKED)
    assert found is not None
    assert 10 <= found < 16
    assert parted(FALLING, FEWER, ASKED) is None
    assert parted(RISING, [9.0] * 20, ASKED) is None


def test_a_few_answers_by_chance_are_no_alarm() -> None:
    assert parted(RISING, [0.9] * 10 + [0.7] * 10, [1.0] * 20) is None
    with pytest.raises(ValueError, match="as many predicted"):
        parted(RISING, FEWER, ASKED[:-1])
