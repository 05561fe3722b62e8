"""CQL over candidate utterances by hand: aims, picks, and offers of unlike sizes cut into micro-batches."""

import math

import pytest
import torch

from small import causal, random_tokens
from tercih.algorithms.cql import CQL, chosen, cql_loss
from tercih.batches import Turns
from tercih.forward import Models
from tercih.models.reward_model import RewardModel


def turns() -> Turns:
    """Three offers, of 2, 3 and 1 utterances; the second follows the first, and two turns answer it."""
    return Turns(
        tokens=random_tokens([2, 3, 1]),
        offered_row_NK=torch.tensor([[1, 0, -1], [3, 2, 4], [4, 2, 3], [5, -1, -1]]),
        reward_N=torch.tensor([0.5, 1.0, -1.0, 2.0], dtype=torch.float64),
        next_N=torch.tensor([1, -1, 3, -1]),
    )


def test_aims_are_the_reward_and_the_best_of_what_is_offered_next() -> None:
    scorer, data = RewardModel(causal()), turns()
    with torch.no_grad():
        score_B = scorer(data.tokens)
    made = list(CQL(gamma=0.5, updates=3).batches(data, Models(policy=scorer), {}))
    assert len(made) == 3
    assert made[0].aim_N is not None
    best, last = float(score_B[2:5].max()), float(score_B[5])
    assert made[0].aim_N.tolist() == pytest.approx([0.5 + 0.5 * best, 1.0, -1.0 + 0.5 * last, 2.0])


def test_what_is_not_offered_is_never_picked_and_has_no_share() -> None:
    score_B, row_NK = torch.tensor([5.0, 1.0, 2.0]), torch.tensor([[1, 2, -1], [2, 0, 1]])
    assert chosen(score_B, row_NK).tolist() == [2, 0]
    loss_N = cql_loss(torch.tensor([[1.0, 2.0, -1e30]]))
    assert loss_N.tolist() == pytest.approx([math.log(1 + math.e)])


def test_a_part_has_its_own_offers_and_what_was_aimed_at_in_the_whole() -> None:
    scorer, data = RewardModel(causal()), turns()
    (whole,) = CQL(updates=1).batches(data, Models(policy=scorer), {})
    assert whole.aim_N is not None
    first, second, _last = whole.split(3)
    assert first.aim_N is not None
    assert first.offered_row_NK.tolist() == [[1, 0, -1]]
    assert second.offered_row_NK.tolist() == [[1, 0, 2], [2, 0, 1]]
    assert torch.equal(first.aim_N, whole.aim_N[:1])


@pytest.mark.parametrize(
    ("options", "said"),
    [({"gamma": 1.1}, r"cql.gamma must be in \[0, 1\], got 1.1"), ({"alpha": -1.0}, "cql.alpha must be >= 0")],
)
def test_what_cannot_be_is_refused(options: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        CQL(**options)  # type: ignore[arg-type]
