from itertools import permutations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from small import random_rankings
from tercih.algorithms.bradley_terry import bradley_terry_loss
from tercih.algorithms.plackett_luce import PlackettLuce, plackett_luce_loss

from .test_bradley_terry import Table


def all_real(score_NK: Tensor) -> Tensor:
    return torch.ones_like(score_NK, dtype=torch.bool)


def by_drawing(score: Tensor, places: int) -> Tensor:
    """-log of drawing the items in this order without replacement, one after the other."""
    loss = torch.zeros((), dtype=score.dtype)
    for place in range(min(places, len(score))):
        loss = loss - score[place:].log_softmax(0)[0]
    return loss


def test_two_places_are_bradley_terry() -> None:
    score_NK = torch.randn(7, 2, dtype=torch.float64)
    first_N3 = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64).repeat(7, 1)
    expected = bradley_terry_loss(score_NK[:, 0] - score_NK[:, 1], first_N3)
    torch.testing.assert_close(plackett_luce_loss(score_NK, all_real(score_NK), 2), expected)


def test_one_place_is_the_softmax_cross_entropy_of_the_best() -> None:
    score_NK = torch.randn(7, 4, dtype=torch.float64)
    expected = cross_entropy(score_NK, torch.zeros(7, dtype=torch.long), reduction="none")
    torch.testing.assert_close(plackett_luce_loss(score_NK, all_real(score_NK), 1), expected)


def test_probabilities_of_all_orders_sum_to_one() -> None:
    score_K = torch.randn(4, dtype=torch.float64)
    score_NK = torch.stack([score_K[list(order)] for order in permutations(range(4))])
    assert float((-plackett_luce_loss(score_NK, all_real(score_NK), 4)).exp().sum()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("places", [1, 2, 3, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_padded_orders_equal_brute_force_with_gradient(places: int, dtype: torch.dtype) -> None:
    sizes = [5, 2, 3, 1, 4]
    score_NK = torch.randn(5, 5, dtype=dtype, generator=torch.Generator().manual_seed(1)) * 3
    real_NK = torch.arange(5)[None] < torch.tensor(sizes)[:, None]
    score_NK[~real_NK] = 50.0  # whatever stands in the padding
    score_NK.requires_grad_()
    found = plackett_luce_loss(score_NK, real_NK, places)
    expected = torch.stack([by_drawing(score_NK[n, :size], places) for n, size in enumerate(sizes)])
    torch.testing.assert_close(found, expected)
    (slope,) = torch.autograd.grad(found.sum(), score_NK)
    torch.testing.assert_close(slope, torch.autograd.grad(expected.sum(), score_NK)[0])
    assert (slope[~real_NK] == 0).all()


def test_scores_may_be_far_apart() -> None:
    score_NK = torch.tensor([[1000.0, -1000.0, 0.0], [-1000.0, 1000.0, 0.0]], requires_grad=True)
    loss_N = plackett_luce_loss(score_NK, all_real(score_NK), 3)
    torch.testing.assert_close(loss_N.detach(), torch.tensor([1000.0, 2000.0]))
    loss_N.sum().backward()
    assert torch.isfinite(score_NK.grad).all()


@pytest.mark.parametrize("places", [0, 2])
def test_the_method_reads_rows_in_the_order_given(places: int) -> None:
    batch = random_rankings()
    scorer = Table(torch.randn(batch.tokens.rows, dtype=torch.float64))
    loss = PlackettLuce(places=places).loss(scorer, batch)
    orders = [[row for row in order if row >= 0] for order in batch.order_row_NK.tolist()]
    expected = torch.stack([by_drawing(scorer.score_B[order], places or 9) for order in orders]).sum()
    torch.testing.assert_close(loss.terms["ranking"].sum, expected)
    assert loss.terms["ranking"].per == "rankings"
    assert int(batch.units()["rankings"]) == len(orders)
    best = sum(int(scorer.score_B[order].argmax()) == 0 for order in orders)
    assert [float(part) for part in loss.metrics["top_accuracy"]] == [best, len(orders)]


def test_places_are_checked() -> None:
    with pytest.raises(ValueError, match=r"plackett_luce.places must be >= 0 \(0 means all\), got -1"):
        PlackettLuce(places=-1)
