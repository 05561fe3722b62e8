import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from tercih.records import Item, Text
from tercih.rewards import Combiner, FunctionReward, Overlong, RewardError, Scores
from tercih.rewards.combine import overlong

ITEMS = [Text(prompt="p", completion="x" * n) for n in (1, 2, 3, 4)]
ENDED = torch.tensor([True, True, False, True])
LENGTH = FunctionReward(lambda prompt, completion: len(completion), "length")
ODD = FunctionReward(lambda prompt, completion: len(completion) % 2, "odd")


class Two:
    """A source of two components."""

    def score(self, items: Sequence[Item]) -> Scores:
        column_B = torch.arange(len(items)).float()
        return Scores(names=("up", "down"), reward_BC=torch.stack([column_B, -column_B], 1))


class Given:
    def __init__(self, *values: float) -> None:
        self.values = values

    def score(self, items: Sequence[Item]) -> Scores:
        return Scores(names=("given",), reward_BC=torch.tensor(self.values)[:, None])


def test_components_are_weighed_and_kept_apart() -> None:
    reward_B, parts = Combiner(sources=[LENGTH, Two()], weights={"length": 2.0, "down": 0.5})(ITEMS, ENDED)
    assert reward_B.tolist() == [2.0, 4.5, 7.0, 9.5]  # 2·length + up + 0.5·down
    assert {name: part_B.tolist() for name, part_B in parts.items()} == {
        "length": [1, 2, 3, 4], "up": [0, 1, 2, 3], "down": [0, -1, -2, -3],
    }  # fmt: skip


def test_a_weight_of_zero_is_recorded_but_not_felt() -> None:
    reward_B, parts = Combiner(sources=[LENGTH, ODD], weights={"length": 0.0})(ITEMS, ENDED)
    assert reward_B.tolist() == [1, 0, 1, 0]
    assert parts["length"].tolist() == [1, 2, 3, 4]


def test_clipping_bounds_the_sum_before_the_penalty() -> None:
    combiner = Combiner(sources=[LENGTH], clip=2.0, missing_end_penalty=5.0, weights={"length": -1})
    reward_B, parts = combiner(ITEMS, ENDED)
    assert reward_B.tolist() == [-1, -2, -7, -2]
    assert parts["length"].tolist() == [1, 2, 3, 4]


def test_running_moments_are_those_of_everything_seen() -> None:
    combiner = Combiner(sources=[LENGTH], normalise=True)
    seen: list[float] = []
    for items in (ITEMS, ITEMS[:1], ITEMS[1:], [Text(prompt="p", completion="x" * 40)]):
        reward_B, _ = combiner(items, torch.ones(len(items), dtype=torch.bool))
        seen += [len(item.completion) for item in items]
        everything = torch.tensor(seen, dtype=torch.float64)
        lengths = torch.tensor([len(item.completion) for item in items], dtype=torch.float64)
        expected = (lengths - everything.mean()) / everything.std(unbiased=False)
        torch.testing.assert_close(reward_B.double(), expected, rtol=1e-5, atol=1e-5)
    assert combiner.count == len(seen)


def test_rewards_all_alike_are_normalised_to_zero() -> None:
    for value in (0.1, 1e6, 0.0):
        combiner = Combiner(sources=[Given(value, value, value)], normalise=True)
        assert combiner(ITEMS[:3], ENDED[:3])[0].tolist() == [0, 0, 0]


def test_its_state_makes_the_round_trip_in_a_checkpoint() -> None:
    ended = torch.ones(4, dtype=torch.bool)
    before, after = (Combiner(sources=[LENGTH], normalise=True) for _ in range(2))
    before(ITEMS, ended)
    after.load_state_dict(before.state_dict())
    later = [Text(prompt="p", completion="x" * n) for n in (9, 1, 2, 7)]
    assert torch.equal(before(later, ended)[0], after(later, ended)[0])
    assert not torch.equal(before(later, ended)[0], Combiner(sources=[LENGTH], normalise=True)(later, ended)[0])


def test_two_rewards_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match=r"two rewards are called 'length'; give one of them another name"):
        Combiner(sources=[LENGTH, LENGTH])(ITEMS, ENDED)


def test_a_weight_of_no_reward_is_refused() -> None:
    with pytest.raises(ValueError, match=r"weights name no reward: \['lenght'\]; there are \['length', 'odd'\]"):
        Combiner(sources=[LENGTH, ODD], weights={"lenght": 1.0})(ITEMS, ENDED)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_no_source_gets_through_with_what_is_not_finite(bad: float) -> None:
    with pytest.raises(RewardError, match=r"reward 'given' is .* for the completion 'xx'"):
        Combiner(sources=[Given(1.0, bad)])(ITEMS[:2], ENDED[:2])


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a reward needs at least one source"):
        Combiner(sources=[])
    for clip in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=r"reward.clip must be > 0, got"):
            Combiner(sources=[LENGTH], clip=clip)


def test_it_keeps_the_sources_precision() -> None:
    reward_B: Tensor = Combiner(sources=[LENGTH], missing_end_penalty=1.0)(ITEMS, ENDED)[0]
    assert reward_B.dtype == torch.float32


def test_overlong_by_hand() -> None:
    """Yu et al. 2025, eq. 13, with 20 tokens at the most and a buffer of 4."""
    length_B = torch.tensor([1.0, 16.0, 17.0, 19.0, 20.0, 25.0])
    assert overlong(length_B, 20, 4).tolist() == [0, 0, -0.25, -0.75, -1, -1]


def test_overlong_responses_lose_after_clipping() -> None:
    items = [Text(prompt="p", completion="x", completion_ids=(3,) * n) for n in (1, 8, 9, 10)]
    combiner = Combiner(sources=[LENGTH], clip=0.5, overlong=Overlong(longest=10, buffer=2, penalty=3.0))
    reward_B, parts = combiner(items, ENDED)
    assert reward_B.tolist() == [0.5, 0.5, -1.0, -2.5]
    assert parts["length"].tolist() == [1] * 4


def test_a_buffer_that_cannot_be() -> None:
    for buffer in (0, 11):
        with pytest.raises(ValueError, match=rf"must be of 1 to 10 tokens, the longest there are; got {buffer}"):
            Overlong(longest=10, buffer=buffer)
    with pytest.raises(ValueError, match="the penalty of overlong responses must be >= 0, got -1"):
        Overlong(longest=10, buffer=1, penalty=-1)
