"""What simulated people say: exact probabilities, exact counts, and draws that follow them."""

import math
from collections import Counter

import torch

from tercih.conformance.enumerable import Language
from tercih.conformance.lab import generator
from tercih.conformance.labels import (
    all_pairs,
    all_rankings,
    drawn,
    drawn_rankings,
    neighbours,
    ranked_pairs,
    shuffled,
    shuffled_orders,
)

LANGUAGE = Language(vocabulary=2, length=2)
SCORE_Y = torch.tensor([0.0, 0.5, 1.0, -2.0], dtype=torch.float64)


def test_every_pair_has_its_davidson_probabilities() -> None:
    pairs = all_pairs(LANGUAGE, SCORE_Y, generator(0), tie=0.5)
    assert len(pairs.weight_N) == 6
    for first, second, (win, lose, tie) in zip(
        pairs.first_row_N, pairs.second_row_N, pairs.target_N3.tolist(), strict=True
    ):
        a, b = math.exp(SCORE_Y[first]), math.exp(SCORE_Y[second])
        total = a + b + 0.5 * math.sqrt(a * b)
        assert math.isclose(win, a / total)
        assert math.isclose(lose, b / total)
        assert math.isclose(tie, 0.5 * math.sqrt(a * b) / total)


def test_drawn_labels_follow_the_probabilities() -> None:
    pairs = all_pairs(LANGUAGE, SCORE_Y, generator(0), tie=0.5)
    sample = drawn(pairs, 60_000, generator(1))
    for n in range(6):
        mine = (sample.first_row_N == pairs.first_row_N[n]) & (sample.second_row_N == pairs.second_row_N[n])
        torch.testing.assert_close(sample.target_N3[mine].mean(0), pairs.target_N3[n], atol=0.02, rtol=0)
    assert torch.equal(sample.target_N3, drawn(pairs, 60_000, generator(1)).target_N3)


def test_shuffling_keeps_the_labels_and_loses_the_pairs() -> None:
    pairs = all_pairs(LANGUAGE, SCORE_Y, generator(0))
    moved = shuffled(pairs, generator(3))
    assert torch.equal(moved.target_N3.sort(0).values, pairs.target_N3.sort(0).values)
    assert not torch.equal(moved.target_N3, pairs.target_N3)


def test_every_order_comes_as_often_as_luce_expects() -> None:
    rankings = all_rankings(LANGUAGE, torch.tensor([1, 2, 3, 1]), [(0, 1, 2)])
    counts = Counter(map(tuple, rankings.order_row_NK.tolist()))
    assert counts == {(2, 1, 0): 20, (2, 0, 1): 10, (1, 2, 0): 15, (1, 0, 2): 5, (0, 2, 1): 6, (0, 1, 2): 4}
    assert neighbours(rankings).order_row_NK.shape == (120, 2)


def test_drawn_orders_follow_luce() -> None:
    strength_Y = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    orders = drawn_rankings(LANGUAGE, strength_Y.log(), 3, 60_000, generator(1)).order_row_NK.tolist()
    share = Counter(map(tuple, orders))
    assert math.isclose(share[(2, 1, 0)] / 60_000, 1 / 3, abs_tol=0.01)
    assert math.isclose(share[(0, 1, 2)] / 60_000, 1 / 15, abs_tol=0.01)


def test_shuffled_orders_keep_their_answers() -> None:
    rankings = all_rankings(LANGUAGE, torch.tensor([1, 2, 3, 1]), [(0, 1, 2), (1, 2, 3)])
    moved = shuffled_orders(rankings, generator(2)).order_row_NK
    assert torch.equal(moved.sort(1).values, rankings.order_row_NK.sort(1).values)
    assert not torch.equal(moved, rankings.order_row_NK)


def test_ranked_pairs_weigh_one_a_prompt() -> None:
    pairs = ranked_pairs(LANGUAGE, [[0, 1, 2], [3, 0]])
    assert list(zip(pairs.first_row_N.tolist(), pairs.second_row_N.tolist(), strict=True)) == [
        (0, 1),
        (0, 2),
        (1, 2),
        (3, 4),
    ]
    torch.testing.assert_close(pairs.weight_N, torch.tensor([1 / 3, 1 / 3, 1 / 3, 1.0], dtype=torch.float64))
