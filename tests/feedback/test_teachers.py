import math

import numpy as np
import pytest

from tercih.feedback.teachers import FIRST, NOTHING, SECOND, TIE, Teacher, fitted

ORACLE = Teacher()


def share_first(teacher: Teacher, difference: float, times: int = 4000) -> float:
    rng = np.random.default_rng(0)
    said = [teacher.answer(difference, 0.0, 0.0, 1.0, tuple(rng.random(2))) for _ in range(times)]
    return sum(each == FIRST for each in said) / times


def test_an_oracle_sees_what_is_better() -> None:
    assert ORACLE.answer(1.0, 0.9, 0, 1, (0.99, 0.99)) == FIRST
    assert ORACLE.answer(-3.0, -2.9, 0, 1, (0.0, 0.99)) == SECOND
    assert ORACLE.answer(2.0, 2.0, 0, 1, (0.0, 0.0)) == TIE


@pytest.mark.parametrize("rationality", [0.5, 1.0, 3.0])
def test_a_noisy_teacher_follows_bradley_and_terry(rationality: float) -> None:
    for difference in (-1.0, 0.3, 2.0):
        expected = 1 / (1 + math.exp(-rationality * difference))
        assert share_first(Teacher(rationality=rationality), difference) == pytest.approx(expected, abs=0.03)


def test_mistakes_are_made_as_often_as_said() -> None:
    assert share_first(Teacher(mistake=0.2), 1.0) == pytest.approx(0.8, abs=0.03)
    assert share_first(Teacher(mistake=0.2), -1.0) == pytest.approx(0.2, abs=0.03)


def test_clips_without_anything_worth_seeing_are_skipped_and_close_ones_are_tied() -> None:
    teacher = Teacher(skip=0.5, equal=0.3)
    assert teacher.answer(1.4, 1.0, 1.0, 1.0, (0, 0.9)) == NOTHING
    assert teacher.answer(1.6, 1.0, 1.0, 1.0, (0, 0.9)) == FIRST
    assert teacher.answer(1.6, 1.4, 1.0, 1.0, (0, 0.9)) == TIE


def test_a_myopic_teacher_sees_the_end() -> None:
    worth_B = Teacher(myopia=0.5).worth(np.array([[8.0, 0.0, 0.0], [0.0, 0.0, 3.0]]))
    assert worth_B.tolist() == [2.0, 3.0]
    assert Teacher().worth(np.array([[8.0, 0.0, 0.0]])).tolist() == [8.0]
    assert Teacher(myopia=0.0).worth(np.array([[8.0, 0.0, 1.0]])).tolist() == [1.0]


@pytest.mark.parametrize("teacher", [ORACLE, Teacher(rationality=1.0, mistake=0.1), Teacher(skip=0.2, equal=0.4)])
def test_what_rewards_are_multiplied_by_and_what_is_added_changes_nothing(teacher: Teacher) -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        first, second, mean, *draws = rng.normal(size=3).tolist() + rng.random(2).tolist()
        plain = teacher.answer(first, second, mean, 1.5, tuple(draws))
        scaled = teacher.answer(first * 7 - 40, second * 7 - 40, mean * 7 - 40, 1.5 * 7, tuple(draws))
        assert plain == scaled


@pytest.mark.parametrize(
    "wrong", [{"rationality": 0.0}, {"mistake": 1.1}, {"equal": -0.1}, {"myopia": 1.5}], ids=lambda w: next(iter(w))
)
def test_teachers_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"teacher.{next(iter(wrong))}"):
        Teacher(**wrong)


@pytest.mark.parametrize(("errors", "ties"), [(0.05, 0.1), (0.2, 0.0), (0.3, 0.25)])
def test_a_teacher_errs_and_ties_as_the_rater_it_is_fitted_to(errors: float, ties: float) -> None:
    rng = np.random.default_rng(2)
    difference_N = rng.normal(size=5000) * math.sqrt(2)
    teacher = fitted(errors, ties, difference_N)
    said = [teacher.answer(d, 0.0, 0.0, 1.0, tuple(rng.random(2))) for d in difference_N]
    tied = [answer == TIE for answer in said]
    wrong = [a == (SECOND if d > 0 else FIRST) for a, d in zip(said, difference_N, strict=True) if a != TIE]
    assert np.mean(tied) == pytest.approx(ties, abs=0.02)
    assert np.mean(wrong) == pytest.approx(errors, abs=0.02)


def test_nobody_can_be_fitted_to_worse_than_guessing() -> None:
    with pytest.raises(ValueError, match=r"errors must be in \[0, 0.5\), got 0.6"):
        fitted(0.6, 0.1, np.ones(3))
    assert fitted(0.0, 0.0, np.ones(3)).rationality == float("inf")
