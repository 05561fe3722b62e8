import math
from collections import Counter

import numpy as np
import pytest
import torch

from tercih.agents.clips import Schedule, cut, pairs
from tercih.agents.experience import Played


def played(steps: int, copies: int, ends: list[tuple[int, int]]) -> Played:
    number_TN = np.arange(steps * copies, dtype=np.float64).reshape(steps, copies)
    ended_TN = np.zeros((steps, copies), dtype=bool)
    for t, n in ends:
        ended_TN[t, n] = True
    return Played(
        observation_TN=number_TN[..., None], action_TN=number_TN[..., None], following_TN=number_TN[..., None] + copies,
        reward_TN=number_TN, terminated_TN=ended_TN & False, truncated_TN=ended_TN, ended_TN=ended_TN,
        drawn_TN=torch.zeros(steps, copies, 1), finished={},
    )  # fmt: skip


def test_clips_do_not_overlap_and_none_holds_two_episodes() -> None:
    found = cut(played(10, 2, [(2, 0), (4, 1)]), {"a": 1}, 3)
    assert [(clip.first, clip.copy) for clip in found] == [(0, 0), (0, 1), (3, 0), (5, 1), (6, 0)]
    clip = found[2]
    assert clip.before == {"a": 1}
    assert clip.reward_L.tolist() == [6, 8, 10]
    assert clip.observation_L[:, 0].tolist() == clip.action_L[:, 0].tolist() == [6, 8, 10]


def test_a_clip_longer_than_the_rollout_is_refused() -> None:
    with pytest.raises(ValueError, match="clips of 11 steps cannot be cut out of rollouts of 10; make the clips"):
        cut(played(10, 2, []), {}, 11)


def test_pairs_are_different_and_each_as_likely() -> None:
    every = pairs(5, 99, np.random.default_rng(0)).tolist()
    assert sorted(map(tuple, every)) == [(i, j) for i in range(5) for j in range(i + 1, 5)]
    drawn = Counter(tuple(pair) for seed in range(2000) for pair in pairs(5, 3, np.random.default_rng(seed)).tolist())
    assert len(drawn) == 10
    assert all(abs(count - 600) < 5 * math.sqrt(600) for count in drawn.values())
    assert len(pairs(1, 4, np.random.default_rng(0))) == 0


def test_labels_come_first_often_then_rarer() -> None:
    schedule = Schedule(labels=700, first=0.25, decay=0.4)
    assert schedule.due(0) == 175
    assert schedule.due(1) == 700
    step = 1e-4
    for done in (0.1, 0.5, 0.9):
        rate = (schedule.due(done + 0.05) - schedule.due(done - 0.05)) / 0.1
        expected = 525 / math.log1p(1 / 0.4) / (done + 0.4)
        assert rate == pytest.approx(expected, rel=0.05)
    assert all(schedule.due(k * step) <= schedule.due((k + 1) * step) for k in range(10_000))


@pytest.mark.parametrize("wrong", [{"labels": 0}, {"first": 0.0}, {"first": 1.5}, {"decay": 0.0}])
def test_schedules_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"schedule.{next(iter(wrong))}"):
        Schedule(**wrong)  # type: ignore[arg-type]
