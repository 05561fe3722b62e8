"""Atari's small grey pictures, without the score."""

from typing import Any

import numpy as np
import pytest

from tercih.environments.control import ControlError, World

pytest.importorskip("ale_py")
pytest.importorskip("cv2")
from tercih.environments import atari


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (210, 160, 3)),
        ({"stack": 2}, (2, 210, 160, 3)),
        ({"pixels": 84}, (84, 84)),
        ({"pixels": 64, "stack": 4, "frameskip": 2, "noops": 0}, (4, 64, 64)),
    ],
)
def test_pictures_have_the_size_that_was_asked_for(options: dict[str, Any], shape: tuple[int, ...]) -> None:
    with World("ALE/Pong-v5", options) as world:
        first = world.reset(0)
        assert world.step(3).following.shape == first.shape == shape


def test_stacked_pictures_are_the_last_ones() -> None:
    with World("ALE/Pong-v5", {"pixels": 84, "stack": 3}) as world:
        before = world.reset(0)
        after = world.step(2).following
        assert np.array_equal(after[:2], before[1:])


@pytest.mark.parametrize("game", sorted(atari.SCORES))
@pytest.mark.parametrize("options", [{}, {"pixels": 84}])
def test_the_score_is_black_and_nothing_else_is(game: str, options: dict[str, Any]) -> None:
    """The score is drawn by the game as it is played: within its place the picture differs, outside it does not."""
    with (
        World(f"ALE/{game}-v5", options, render=True) as shown,
        World(f"ALE/{game}-v5", options | {"blank_score": True}, render=True) as blank,
    ):
        for world in (shown, blank):
            world.reset(0)
            world.env.action_space.seed(0)
        found = 0
        for _ in range(120):
            one, other = (world.step(world.env.action_space.sample()).following for world in (shown, blank))
            differs = one != other if one.ndim == 2 else (one != other).any(-1)
            assert (other[differs] == 0).all()
            assert differs.mean() < 0.13
            found += differs.sum()
        assert found > 100
        frame, hidden = shown.frame(), blank.frame()
        assert (hidden[frame != hidden] == 0).all()


def test_a_point_in_pong_cannot_be_seen() -> None:
    """Opened at the moment of a point: the plain picture's top changes, the blanked one's stays black."""
    tops = []
    for blank in (False, True):
        with World("ALE/Pong-v5", {"pixels": 84, "blank_score": blank}) as world:
            world.reset(0)
            before = world.observation
            while world.step(0).reward == 0:
                before = world.observation
            for _ in range(30):
                world.step(0)
            tops.append((before[:9], world.observation[:9]))
    (plain, scored), (black, still) = tops
    assert (plain != scored).any()
    assert not black.any()
    assert not still.any()


def test_a_game_whose_score_is_not_known_is_refused() -> None:
    assert "Tennis" not in atari.SCORES
    with pytest.raises(ControlError, match=r"where Tennis shows its score is not known, only that of .*Pong.* SCORES"):
        World("ALE/Tennis-v5", {"blank_score": True})
    with World("ALE/Tennis-v5") as world:
        world.reset(0)


def test_without_ale_the_mend_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ale_py", None)
    with pytest.raises(ControlError, match=r'pip install "tercih\[atari\]"'):
        World("ALE/Pong-v5")
