"""The reward-hacking alarm of control runs, on planted data: it speaks where it should, and only there."""

from collections.abc import Sequence

import numpy as np
import pytest

from tercih.evaluation.parting import (
    Foreseen,
    Gained,
    Milestone,
    foreseen_share,
    mean_gain,
    parted_from_answers,
    parted_from_people,
    parted_from_truth,
    read_foreseen,
    read_gained,
    read_milestones,
)

RISES = (0, 10, 20, 30, 40, 50, 60, 70, 80)
HACKED = (0, 20, 40, 60, 60, 40, 20, 0, -20)


def along(true: Sequence[float], predicted: Sequence[float], seed: int = 0, noise: float = 4.0) -> list[Milestone]:
    """Eight episodes a milestone, whose beginnings are good or bad alike at each."""
    dice = np.random.default_rng(seed)
    luck = dice.normal(size=8) * noise
    return [
        Milestone(
            share=i / (len(true) - 1), steps=1000 * i, true=tuple(t + luck + dice.normal(size=8) * noise),
            predicted=tuple(p + luck + dice.normal(size=8) * noise),
        )
        for i, (t, p) in enumerate(zip(true, predicted, strict=True))
    ]  # fmt: skip


def answers(early: float, late: float, each: int = 5) -> list[Foreseen]:
    """Thirty rows, of which the last ten are the last third of the training."""
    return [
        Foreseen(share=i / 29, right=each * (late if i / 29 > 2 / 3 else early), of=each) for i in range(30)
    ]  # fmt: skip


def gains(late: float, each: int = 5) -> list[Gained]:
    """Thirty rows of answers whose gain is uniform within 0.1 of its mean, which was 0.1 at first."""
    return [
        Gained(share=i / 29, gain=gain, squared=gain**2 + 0.1**2 / 3, of=each)
        for i in range(30)
        for gain in [late if i / 29 > 2 / 3 else 0.1]
    ]


@pytest.mark.parametrize("seed", range(5))
def test_it_speaks_where_the_truth_falls_and_the_learned_reward_rises(seed: int) -> None:
    found = parted_from_truth(along(HACKED, RISES, seed))
    assert found is not None
    assert found[0].steps in (3000, 4000)
    assert found[1].steps in (7000, 8000)


def test_it_speaks_although_the_policy_broke_down_in_the_end() -> None:
    found = parted_from_truth(along(HACKED, [*RISES[:7], -40, -40]))
    assert found is not None
    assert found[1].steps == 6000


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    ("true", "predicted"),
    [
        (RISES, RISES),  # both rise
        (HACKED, HACKED),  # the agent forgot, and the learned reward says so
        (RISES, [0.0] * 9),  # nothing was learned as a reward
        ([30] * 9, RISES),  # the agent does not get worse
        ([0, 40, 42, 38, 41, 40, 39, 41, 40], [0, 30, 40, 45, 50, 52, 54, 56, 58]),  # a plateau with noise
    ],
)
def test_it_is_silent_on_honest_runs(true: Sequence[float], predicted: Sequence[float], seed: int) -> None:
    assert parted_from_truth(along(true, predicted, seed)) is None
    assert parted_from_people(along(true, predicted, seed), answers(0.9, 0.72)) is None


def test_it_speaks_where_answers_are_no_longer_foreseen() -> None:
    found = parted_from_people(along(RISES, RISES), answers(0.9, 0.4))
    assert found is not None
    before, after = found
    assert (before.n, after.n) == (100, 50)
    assert before.low > after.high


@pytest.mark.parametrize(
    ("predicted", "rows"),
    [
        (RISES, answers(0.9, 0.8)),  # it fell, for clips become alike, and is better than guessing
        (RISES, answers(0.55, 0.5)),  # it never was better
        (RISES, answers(0.9, 0.4, each=1)),  # ten answers say nothing
        ([*RISES[:6], 50, 50, 50], answers(0.9, 0.4)),  # the agent gets nothing out of it
        (RISES, []),
    ],
)
def test_it_is_silent_about_answers_without_reason(predicted: Sequence[float], rows: list[Foreseen]) -> None:
    assert parted_from_people(along(RISES, predicted, noise=1.0), rows) is None


def test_it_speaks_where_the_reward_is_sure_of_what_nobody_says() -> None:
    found = parted_from_answers(along(HACKED, RISES), gains(-0.05))
    assert found is not None
    assert (found.n, found.value) == (50, pytest.approx(-0.05))
    assert found.high == pytest.approx(-0.05 + 1.96 * 0.1 / np.sqrt(3 * 50))


@pytest.mark.parametrize(
    ("predicted", "rows"),
    [
        (RISES, gains(0.01)),  # clips become alike, and it knows
        (RISES, gains(-0.005)),  # not beyond the interval
        (RISES, gains(-0.05, each=1)),  # ten answers say nothing
        ([30] * 9, gains(-0.05)),  # the agent gets nothing out of it
        (RISES, []),
    ],
)
def test_it_is_silent_about_what_is_foreseen_without_reason(predicted: Sequence[float], rows: list[Gained]) -> None:
    assert parted_from_answers(along(RISES, predicted, noise=1.0), rows) is None


def test_it_is_silent_without_a_learned_reward() -> None:
    bare = [Milestone(share=i / 4, steps=i, true=(float(-i), float(-i)), predicted=()) for i in range(5)]
    assert parted_from_truth(bare) is None
    assert parted_from_people(bare, answers(0.9, 0.4)) is None
    assert parted_from_answers(bare, gains(-0.1)) is None


def test_it_reads_what_a_run_wrote() -> None:
    row = {"share": 0.5, "steps": 10, "true": [1.0, 2.0], "predicted": [0.0, 1.0]}
    found = read_milestones([row | {"share": 1.0}, row, row | {"true": [1.0]}, row | {"steps": None}])
    assert [each.share for each in found] == [0.5, 1.0]
    assert read_milestones(None) == []
    rows = [(0.5, 4.0), (None, None), (1.0, 1.0)]
    told = read_foreseen([{"reward/ahead_accuracy": share, "reward/ahead_of": of} for share, of in rows])
    assert [(each.share, each.right, each.of) for each in told] == [(0.0, 2.0, 4), (1.0, 1.0, 1)]
    one = foreseen_share(told)
    assert one is not None
    assert (one.value, one.n) == (pytest.approx(0.6), 5)
    assert foreseen_share([]) is None
    gained = read_gained([
        {"reward/ahead_gain": 0.1, "reward/ahead_gain_squared": 0.01, "reward/ahead_said": 3.0},
        {},
        {"reward/ahead_gain": -0.1, "reward/ahead_gain_squared": 0.01, "reward/ahead_said": 1.0},
    ])  # fmt: skip
    assert [(each.share, each.of) for each in gained] == [(0.0, 3), (1.0, 1)]
    mean = mean_gain(gained)
    assert mean is not None
    assert (mean.value, mean.n) == (pytest.approx(0.05), 4)
    assert mean.high == pytest.approx(0.05 + 1.96 * np.sqrt((0.01 - 0.05**2) / 4))
    assert mean_gain([]) is None
