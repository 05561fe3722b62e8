from collections.abc import Callable
from typing import Any

import pytest
import torch

from small import byte_pairs
from tercih.data import collate
from tercih.data.tokenize import Encoded, TokenError, Tokenizer
from tercih.records import Comparison, Consensus, Demonstration, Dialogue, Ranking, Rating, Text, Thumb, Turn

TOKENIZER = Tokenizer(byte_pairs(), "tiny")


def text(prompt: str, completion: str) -> Text:
    return Text(prompt=prompt, completion=completion)


def encoded(prompt: tuple[int, ...], response: tuple[int, ...], learn: tuple[bool, ...] = ()) -> Encoded:
    return Encoded(prompt=prompt, response=response, learn=learn or (True,) * len(response))


def test_neighbours_with_one_prompt_share_it() -> None:
    rows = [
        encoded((1, 2), (5,)),
        encoded((1, 2), (6, 7, 8), (True, False, True)),
        encoded((3,), (9, 9)),
        encoded((1, 2), (4,)),
    ]
    made = collate.collate(rows)
    assert made.prompt_of_B.tolist() == [0, 0, 1, 2]
    assert made.prompt_len_P.tolist() == [2, 1, 2]
    assert made.prompt_ids_PS.tolist() == [[1, 2], [3, 0], [1, 2]]
    assert made.response_ids_BT.tolist() == [[5, 0, 0], [6, 7, 8], [9, 9, 0], [4, 0, 0]]
    assert made.response_len_B.tolist() == [1, 3, 2, 1]
    assert made.loss_mask_BT.tolist() == [
        [True, False, False], [True, False, True], [True, True, False], [True, False, False],
    ]  # fmt: skip


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a batch needs at least one row"):
        collate.collate([])


def test_pairs_lie_side_by_side() -> None:
    a, b, c = (text("the cat", s) for s in (" sat", " ate", " and a dog"))
    records = [
        Comparison(a=a, b=b, answer="a", rater="r", margin=0.5),
        Comparison(a=b, b=c, answer="b", rater="r", strength=0.5),
        Comparison(a=c, b=a, answer="tie", rater="r"),
        Consensus(a=text("hello", " you"), b=text("hello", " there"), p_a=0.5, p_b=0.25, weight=2.0, margin=0.1),
    ]
    batch = collate.pairs(records, TOKENIZER, 64)
    assert batch.tokens.rows == 8
    assert batch.tokens.prompt_of_B.tolist() == [0, 0, 0, 0, 0, 0, 1, 1]
    assert batch.first_row_N.tolist() == [0, 2, 4, 6]
    assert batch.second_row_N.tolist() == [1, 3, 5, 7]
    expected = [[1, 0, 0], [0.25, 0.75, 0], [0, 0, 1], [0.5, 0.25, 0.25]]
    torch.testing.assert_close(batch.target_N3, torch.tensor(expected))
    torch.testing.assert_close(batch.weight_N, torch.tensor([1.0, 1.0, 1.0, 2.0]))
    torch.testing.assert_close(batch.margin_N, torch.tensor([0.5, 0.0, 0.0, 0.1]))
    for n, item in enumerate((a, b, b, c, c, a)):
        length = int(batch.tokens.response_len_B[n])
        assert TOKENIZER.decode(batch.tokens.response_ids_BT[n, :length].tolist()) == item.completion


def test_turns_have_what_was_said_first_and_the_next_offer() -> None:
    long = Dialogue(
        turns=(
            Turn(context="the cat", offered=(" sat", " ate"), said=1, reward=0.5),
            Turn(context="the cat ate on", offered=(" the mat", " the hat", " that"), said=2, reward=-1.0),
        )
    )
    short = Dialogue(turns=(Turn(context="a dog", offered=(" sat",), said=0, reward=2.0),))
    batch = collate.turns([long, short, long], TOKENIZER, 64)
    assert batch.offered_row_NK.tolist() == [
        [1, 0, -1], [4, 2, 3], [5, -1, -1], [7, 6, -1], [10, 8, 9],
    ]  # fmt: skip
    assert batch.next_N.tolist() == [1, -1, -1, 4, -1]
    assert batch.reward_N.tolist() == [0.5, -1.0, 2.0, 0.5, -1.0]
    assert batch.tokens.prompt_of_B.tolist() == [0, 0, 1, 1, 1, 2, 3, 3, 4, 4, 4]
    assert batch.aim_N is None
    for number, item in enumerate(long.items):
        length = int(batch.tokens.response_len_B[number])
        assert TOKENIZER.decode(batch.tokens.response_ids_BT[number, :length].tolist()) == item.completion


def test_a_turn_that_nobody_took_teaches_nothing() -> None:
    asked = Dialogue(turns=(Turn(context="a dog", offered=(" sat", " ate")),))
    with pytest.raises(TokenError, match=r"turn 1 does not say what was said of what was offered \(said, reward\)"):
        collate.turns([asked], TOKENIZER, 64)


def test_rankings_of_different_length() -> None:
    long = Ranking(items=tuple(text("the cat", f" {w}") for w in ("sat", "ate", "hat")), order=(2, 0, 1), rater="r")
    short = Ranking(items=tuple(text("a dog", f" {w}") for w in ("sat", "ate")), order=(1, 0), rater="r")
    batch = collate.rankings([long, short], TOKENIZER, 64)
    assert batch.order_row_NK.tolist() == [[2, 0, 1], [4, 3, -1]]
    assert batch.tokens.prompt_of_B.tolist() == [0, 0, 0, 1, 1]
    couples = collate.all_pairs([long, short], TOKENIZER, 64)
    assert couples.first_row_N.tolist() == [2, 2, 0, 4]
    assert couples.second_row_N.tolist() == [0, 1, 1, 3]
    torch.testing.assert_close(couples.weight_N, torch.tensor([1 / 3, 1 / 3, 1 / 3, 1.0]))
    assert float(couples.units()["comparisons"]) == pytest.approx(2), "each ranking counts as one record"


def test_demonstrations() -> None:
    batch = collate.demonstrations([Demonstration(item=text("the cat", " sat"))], TOKENIZER, 64)
    assert TOKENIZER.decode(batch.tokens.response_ids_BT[0].tolist()) == " sat"


def test_too_long_says_how_long() -> None:
    item = text("the cat and the dog " * 4, " sat")
    row = TOKENIZER.encode(item)
    count = len(row.prompt) + len(row.response)
    assert collate.encode(item, TOKENIZER, count) == row
    said = rf"{len(row.prompt)} prompt \+ {len(row.response)} response tokens exceed the model's context of {count - 1}"
    with pytest.raises(TokenError, match=said + ".*'the cat and the dog .*…'"):
        collate.encode(item, TOKENIZER, count - 1)


MAKERS: list[tuple[Callable[..., Any], Callable[[Text], Any]]] = [
    (collate.demonstrations, lambda item: Demonstration(item=item)),
    (collate.pairs, lambda item: Comparison(a=item, b=text(str(item.prompt), " sat"), answer="a", rater="r")),
    (collate.rankings, lambda item: Ranking(items=(item, item), order=(0, 1), rater="r")),
]


@pytest.mark.parametrize(("make", "record"), MAKERS, ids=["demonstrations", "pairs", "rankings"])
def test_what_does_not_fit_is_named_or_left_out_loudly(
    make: Callable[..., Any], record: Callable[[Text], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    good, long, empty = text("the cat", " sat"), text("the cat " * 20, " sat"), text("the cat", "")
    records = [record(good), record(long), record(good)]
    with pytest.raises(TokenError, match=r"^pairs.jsonl, record 2: .* exceed the model's context of 30"):
        collate.fitting(records, make, TOKENIZER, 30, drop=False, where="pairs.jsonl")
    kept = collate.fitting(records, make, TOKENIZER, 30, drop=True, where="pairs.jsonl")
    assert kept == [records[0], records[2]]
    assert "left out 1 of 3 records, longer than 30 tokens" in capsys.readouterr().out
    with pytest.raises(TokenError, match=r"^record 2: a completion is empty"):
        collate.fitting([record(good), record(empty)], make, TOKENIZER, 30, drop=True)


def test_scores_and_thumbs() -> None:
    rated = Rating(item=text("the cat", " sat"), score=5, rater="r")
    batch = collate.scored([rated, Thumb(item=text("the cat", " ate"), good=True, rater="r")], TOKENIZER, 64)
    assert batch.score_B.tolist() == [5.0, 1.0]
    assert batch.weight_B.tolist() == [1.0, 1.0]
    assert batch.tokens.prompt_of_B.tolist() == [0, 0]
    assert [float(x) for x in batch.describe()["score"]] == [6.0, 2.0]


def test_thumbs_and_what_a_comparison_says_of_its_two() -> None:
    good = Thumb(item=text("the cat", " sat"), good=True, rater="r")
    bad = Thumb(item=text("the cat", " ate"), good=False, rater="r")
    pair = Consensus(a=text("hello", " you"), b=text("hello", " there"), p_a=0.6, p_b=0.2, weight=2.0)
    batch = collate.thumbs([good, bad, pair], TOKENIZER, 64)
    assert batch.good_B.tolist() == pytest.approx([1.0, 0.0, 0.7, 0.3])
    assert batch.weight_B.tolist() == [1.0, 1.0, 2.0, 2.0]
    assert batch.tokens.prompt_of_B.tolist() == [0, 0, 1, 1]
    assert float(batch.units()["thumbs"]) == 6
