"""Constraints: what a file may say, and the weights that give moments."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tercih.rewards.constraints import constraints, fitted


def test_one_feature_of_two_values_by_hand() -> None:
    feature_NC = torch.tensor([[1.0]] * 2 + [[0.0]] * 6)
    weight_C, effective = fitted(feature_NC, torch.tensor([0.5]), ["rare"])
    assert float(weight_C[0]) == pytest.approx(torch.log(torch.tensor(3.0)).item(), abs=1e-3)  # odds 1:3 become 1:1
    assert effective == pytest.approx(1 / (2 / 16 + 6 / 144), rel=1e-2)


def test_several_moments_at_once() -> None:
    draws = torch.Generator().manual_seed(0)
    feature_NC = torch.randn(4000, 3, generator=draws) @ torch.tensor([[2.0, 1, 0], [0, 1, 0], [0, 0, 5]])
    moment_C = torch.tensor([1.0, -0.5, 2.0])
    weight_C, _ = fitted(feature_NC, moment_C, ["a", "b", "c"])
    share_N = (feature_NC.double() @ weight_C).softmax(0)
    torch.testing.assert_close(share_N @ feature_NC.double(), moment_C.double(), atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("values", "moment", "message"),
    [
        ([0.0] * 8, 0.5, "all 8 answers that were sampled are alike in 'x'"),
        ([0.0, 1.0], 1.5, r"no weight gives 'x' the mean 1.5: .* it is 0.5, from 0 to 1; ask for less, or sample more"),
    ],
)
def test_what_cannot_be_fitted(values: list[float], moment: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fitted(torch.tensor(values)[:, None], torch.tensor([moment]), ["x"])


def test_words_and_functions() -> None:
    rows: list[dict[str, Any]] = [
        {"words": ["she", "her"], "moment": 0.5},
        {"feature": "f.py:long", "moment": 1, "name": "length"},
    ]
    first, second = constraints(rows, "c.jsonl", lambda _: lambda prompt, completion: len(completion))
    assert (first.name, first.moment, second.name) == ("she", 0.5, "length")
    found = [first.feature("", text, wanted="x") for text in ("She ran.", "the sheep", "for HER", "")]
    assert found == [1.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"words": ["a"]}, 'constraint 1 of c.jsonl needs a number "moment"'),
        ({"moment": 0.5}, 'constraint 1 of c.jsonl needs either "feature"'),
        ({"words": ["a"], "feature": "f.py:x", "moment": 0.5}, "needs either"),
        ({"words": [], "moment": 0.5}, r"\"words\" must be a list of words, got \[\]"),
        ({"feature": "long", "moment": 0.5}, "long is no FILE.py:FUNCTION"),
        ({"words": ["a"], "moment": 0.5, "weight": 3}, "has weight; it may have feature or words, moment, name"),
    ],
)
def test_bad_rows(row: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        constraints([row], Path("c.jsonl"), lambda _: None)


def test_two_of_one_name_and_none_at_all() -> None:
    row = {"words": ["a"], "moment": 0.5}
    with pytest.raises(ValueError, match='two constraints called a; give one another "name"'):
        constraints([row, row], "c.jsonl", lambda _: None)
    with pytest.raises(ValueError, match=r"c.jsonl holds no constraint"):
        constraints([], "c.jsonl", lambda _: None)


def test_the_mean_over_prompts_is_what_is_wanted() -> None:
    """Of binary features a prompt that has p has p e^λ / (1 − p + p e^λ) afterwards: here 0.3 and 0.05."""
    feature_NC = torch.cat([torch.ones(30), torch.zeros(70), torch.ones(5), torch.zeros(95)])[:, None]
    prompt_of_N = torch.arange(2).repeat_interleave(100)

    def mean(weight: float) -> float:
        odds = torch.tensor([3 / 7, 5 / 95]) * torch.tensor(weight).exp()
        return float((odds / (1 + odds)).mean())

    weight_C, _ = fitted(feature_NC, torch.tensor([0.5]), ["rare"], prompt_of_N)
    assert mean(float(weight_C)) == pytest.approx(0.5, abs=1e-3)
    together_C, _ = fitted(feature_NC, torch.tensor([0.5]), ["rare"])  # as if the prompts were one
    assert mean(float(together_C)) < 0.48
