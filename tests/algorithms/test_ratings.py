"""Reward models from ratings: hand-computed values, bad input, and the command line."""

import json
from collections.abc import Iterator
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import pytest
import torch

from commands.workshop import tercih, write_model, write_rows
from small import causal, random_ratings
from tercih.algorithms.binned_regression import BinnedRegression, two_bins
from tercih.algorithms.score_regression import squared_error
from tercih.data.tokenize import Tokenizer
from tercih.forward import Models
from tercih.models.load import load_reward_model, save_model
from tercih.models.reward_model import RewardModel
from tercih.records import Rating
from tercih.sources import SourceError, load

FIVE = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])


def test_a_whole_rating_is_one_bin_and_what_lies_between_is_shared() -> None:
    found = two_bins(torch.tensor([1.0, 3.0, 5.0, 2.25]), FIVE)
    assert found.tolist() == [[1, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 1], [0, 0.75, 0.25, 0, 0]]
    some = 1 + 4 * torch.rand(100, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(two_bins(some, FIVE) @ FIVE, some)


def test_a_squared_error_by_hand() -> None:
    assert squared_error(torch.tensor([1.0, 4.0]), torch.tensor([3.0, 4.0])).tolist() == [4, 0]


def test_a_head_that_tells_nothing_apart_scores_the_middle_at_log_5() -> None:
    method = BinnedRegression()
    scorer = RewardModel(causal(), bins=method.centres)
    torch.nn.init.zeros_(scorer.score_head.weight)
    batch = random_ratings([2, 1])
    batch = replace(batch, weight_B=torch.ones_like(batch.weight_B))
    loss = method.loss(scorer, batch)
    assert float(loss.terms["cross_entropy"].sum.detach()) == pytest.approx(3 * log(5))
    assert scorer(batch.tokens).tolist() == pytest.approx([3, 3, 3])


@pytest.mark.parametrize("options", [{"bins": 1}, {"low": 5.0, "high": 1.0}, {"bins": 0}])
def test_bins_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="binned_regression"):
        BinnedRegression(**options)


def test_scores_beyond_the_bins() -> None:
    method = BinnedRegression(high=4.0)
    beyond = replace(random_ratings([2]), score_B=torch.tensor([1.0, 4.5]))
    with pytest.raises(
        ValueError, match=r"scores reach from 1 to 4\.5, beyond the bins from 1 to 4; set --method\.low"
    ):
        list(method.batches(beyond, Models(policy=torch.nn.Linear(1, 1)), {}))


def test_a_head_of_bins_is_saved_and_loaded(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(write_model(tmp_path / "base"))
    scorer = RewardModel(causal(dtype=torch.float32, vocabulary=len(tokenizer.hf)), bins=(0.0, 0.5, 2.0))
    save_model(scorer, tokenizer.hf, tmp_path / "rm")
    again = load_reward_model(tmp_path / "rm")
    tokens = random_ratings([2, 1]).tokens
    assert again.centres == (0.0, 0.5, 2.0)
    torch.testing.assert_close(again(tokens), scorer(tokens))


def test_rows_with_scores_are_ratings(tmp_path: Path) -> None:
    rows: Iterator[dict[str, Any]] = ({"prompt": "p", "completion": f"c{n}", "score": n} for n in (1, 2.5))
    (first, second) = load(str(write_rows(tmp_path / "r.jsonl", list(rows))))
    assert isinstance(first, Rating)
    assert isinstance(second, Rating)
    assert (first.score, second.score) == (1.0, 2.5)
    write_rows(tmp_path / "bad.jsonl", [{"prompt": "p", "completion": "c", "score": "four"}])
    with pytest.raises(SourceError, match="row 1: score must be a finite number, got 'four'"):
        load(str(tmp_path / "bad.jsonl"))


@pytest.mark.learns
@pytest.mark.parametrize("name", ["binned_regression", "score_regression"])
def test_a_reward_model_is_trained_from_ratings_and_pays(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(Path("m"))
    rated = [
        {"prompt": f"what is {x}", "completion": c, "score": s} for x in "abcd" for c, s in ((" good", 5), (" bad", 1))
    ]
    write_rows(Path("rated.jsonl"), rated)
    options = ["--epochs", 40, "--rows", 8, "--optimisation.lr", 0.02, "--readout", "mean"]
    outcome = tercih("train", name, "--model", "m", "--data", "rated.jsonl", "--out", "rm", *options)
    assert outcome.status == 0, outcome.err
    assert json.loads(Path("rm/model/metrics.jsonl").read_text().splitlines()[-1])["error"] < 0.8
    where = ["--model", "m", "--data", "rated.jsonl", "--reward", "rm/model", "--out", "out"]
    outcome = tercih("train", "ppo", *where, "--steps", 1, "--rows", 2, "--sampling.max-new-tokens", 3)
    assert outcome.status == 0, outcome.err
