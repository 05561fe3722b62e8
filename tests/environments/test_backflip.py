import numpy as np
import pytest

from tercih.environments.backflip import Attempt, attempt, flights, longest, standing, tilt, touches
from tercih.environments.control import ControlError

RATE = 62.5
UP, LOW, LYING = 1.7, 1.2, 0.04  # heights of the torso in the air, with the foot on the ground, and on the ground


def seen(heights: list[float], angles: list[float]) -> np.ndarray:
    """Observations of a straight hopper."""
    observation_SO = np.zeros((len(heights), 11))
    observation_SO[:, 0], observation_SO[:, 1] = heights, angles
    return observation_SO


def flip(turn: float, after: float, stays: int, *, falls: bool = False) -> np.ndarray:
    """It stands, turns by so much in the air, and stays at this angle for so many steps, standing or lying."""
    turning = np.linspace(0, -turn, 12).tolist()
    heights = [LOW] * 5 + [UP] * 10 + [LYING if falls else LOW] * (stays + 1)
    angles = [0.0] * 4 + turning + [after] * stays
    return seen(heights, angles)


def test_what_touches_the_ground() -> None:
    touch_S, foot_S = touches(seen([UP, LOW, LYING], [0.0, 0.0, -np.pi / 2]))
    assert touch_S.tolist() == [False, True, True]
    assert foot_S.tolist() == [True, True, False]
    with pytest.raises(ControlError, match="no observations of Hopper"):
        touches(np.zeros((3, 4)))


def test_upright_is_upright_after_any_number_of_turns() -> None:
    np.testing.assert_allclose(tilt(seen([1] * 4, [0.1, -2 * np.pi + 0.1, -4 * np.pi, np.pi])), [0.1, 0.1, 0, np.pi])
    stands_S = standing(seen([LOW, LOW, 0.5], [0, np.pi, 0]), np.array([True, True, True]))
    assert stands_S.tolist() == [True, False, False]


def test_time_in_the_air_lies_between_two_contacts() -> None:
    touch_S = np.array([0, 1, 0, 0, 1, 1, 0, 1, 0, 0], dtype=bool)
    assert flights(touch_S) == [(1, 4), (5, 7)]
    assert longest(np.array([1, 1, 0, 1, 1, 1, 0], dtype=bool)) == 3
    assert longest(np.zeros(4, dtype=bool)) == 0


def test_a_whole_turn_and_half_a_second_on_the_foot_is_a_backflip() -> None:
    whole = attempt(flip(2 * np.pi + 0.01, -2 * np.pi, 32), RATE)
    assert whole.landed
    assert whole.rotation == pytest.approx(2 * np.pi + 0.01)
    assert whole.stood == pytest.approx(33 / RATE)
    short = attempt(flip(2 * np.pi + 0.01, -2 * np.pi, 29), RATE)
    assert not short.landed
    too_little = attempt(flip(2 * np.pi - 0.01, -2 * np.pi, 60), RATE)
    assert too_little == Attempt(rotation=too_little.rotation, stood=0.0)
    assert not too_little.landed
    forwards = attempt(flip(-2 * np.pi - 0.01, 0.0, 60), RATE)
    assert forwards.rotation == 0
    fallen = attempt(flip(2 * np.pi + 0.01, -np.pi / 2, 60, falls=True), RATE)
    assert fallen.rotation > 2 * np.pi
    assert fallen.stood == pytest.approx(1 / RATE, abs=1 / RATE)
    assert not fallen.landed


def test_a_turn_on_the_ground_is_none() -> None:
    rolled = seen([LYING] * 20 + [LOW] * 60, np.linspace(0, -2 * np.pi, 20).tolist() + [-2 * np.pi] * 60)
    assert attempt(rolled, RATE) == Attempt(rotation=0.0, stood=0.0)
