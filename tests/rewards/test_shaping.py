import numpy as np
import pytest

from tercih.environments.control import ControlError
from tercih.rewards.compose import Composed, Part
from tercih.rewards.shaping import Shaping


def height(observation: np.ndarray) -> np.ndarray:
    return observation[..., 0]


def test_a_bonus_by_hand() -> None:
    before, after = np.array([[1.0, 9], [2, 9]]), np.array([[3.0, 9], [5, 9]])
    action = np.zeros(2)
    assert Shaping(height, 0.5)(before, action, after).tolist() == [0.5, 0.5]
    ends = Shaping(height, 0.5, lambda observation: observation[..., 0] == 5)
    assert ends(before, action, after).tolist() == [0.5, -2.0]
    rollout = Shaping(height, 0.5)(before[:, None], action[:, None], after[:, None])
    assert rollout.shape == (2, 1)


def test_going_in_a_circle_earns_nothing() -> None:
    place = np.array([0, 1, 2, 1, 0])[:, None].astype(float)
    assert Shaping(height, 1.0)(place[:-1], np.zeros(4), place[1:]).sum() == 0


def test_what_cannot_shape() -> None:
    with pytest.raises(ValueError, match=r"shaping\.gamma must be in"):
        Shaping(height, 1.5)
    for wrong in (lambda s: s[:, 0] * np.nan, lambda s: np.zeros((7, 3))):
        with pytest.raises(ControlError, match="one finite number for every observation"):
            Shaping(wrong, 0.9)(np.zeros((2, 3)), np.zeros(2), np.zeros((2, 3)))


def test_parts_and_their_sum() -> None:
    reward = Composed(
        parts={
            "speed": Part(reward=lambda s, a, n: n[:, 0] - s[:, 0]),
            "effort": Part(reward=lambda s, a, n: a**2, weight=-0.1),
        }
    )
    given = np.array([[1.0], [2.0]]), np.array([2.0, 3.0]), np.array([[2.0], [2.0]])
    assert reward(*given) == pytest.approx([0.6, -0.9])
    assert {name: part.tolist() for name, part in reward.terms(*given).items()} == {"speed": [1, 0], "effort": [4, 9]}


def test_parts_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="at least one part"):
        Composed(parts={})
    with pytest.raises(ValueError, match=r"composed.parts\['x'\].weight must be finite"):
        Composed(parts={"x": Part(reward=lambda s, a, n: a, weight=np.nan)})
    uneven = Composed(parts={"a": Part(reward=lambda s, a, n: a), "b": Part(reward=lambda s, a, n: a[:1])})
    with pytest.raises(ControlError, match="each give one number for every step"):
        uneven(np.zeros((2, 1)), np.zeros(2), np.zeros((2, 1)))
