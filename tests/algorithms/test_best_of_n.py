import math

import pytest
import torch

from tercih.algorithms.best_of_n import best_of_n


def test_the_highest_score_wins_and_the_first_of_equals() -> None:
    scores = torch.tensor([[1.0, 3.0, 2.0], [5.0, 5.0, 5.0], [0.0, -1.0, 0.0]])
    assert best_of_n(scores).tolist() == [1, 0, 0]
    assert best_of_n(scores[:, :1]).tolist() == [0, 0, 0]


def test_the_first_of_equals_is_one_by_lot() -> None:
    scores = torch.rand(20_000, 2, generator=torch.Generator().manual_seed(0)).round()
    share = float(best_of_n(scores).float().mean())  # the second wins only where it is better: a quarter
    assert share == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("shape", [(3,), (3, 0)])
def test_scores_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"best_of_n needs scores of n >= 1 answers for every prompt"):
        best_of_n(torch.zeros(shape))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_score_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match=r"not finite for an answer of prompt 1"):
        best_of_n(torch.tensor([[0.0, 1.0], [bad, 0.0]]))
