"""The sentiment task, on reviews written here; the real ones where there are any."""

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from transformers import BertConfig, BertForSequenceClassification

from tercih.data.tokenize import Tokenizer
from tercih.models.load import load_policy
from tercih.recipes import imdb_sentiment, sentiment
from tercih.recipes.imdb_sentiment import IMDBSentiment, LanguageModelling
from tercih.recipes.scratch import ScratchModel, make_model, make_tokenizer, windows
from tercih.recipes.sentiment import BagOfWords, HubClassifier, Review, Sentiment
from tercih.run import read_json
from tercih.sources.rows import SourceError

GOOD, BAD = ["lovely", "great", "moving", "clever"], ["dull", "awful", "wooden", "boring"]
PLAIN = ["the", "film", "about", "a", "dog", "and", "its", "house", "by", "sea", "was", "shown", "with", "music"]
SIZE = ScratchModel(vocabulary=300, hidden=16, layers=1, heads=2, context=128)


def review(rng: random.Random, positive: bool) -> Review:
    words = [*rng.choices(PLAIN, k=40), *rng.choices(GOOD if positive else BAD, k=12)]
    rng.shuffle(words)
    return Review(" ".join(words[:30]) + ". " + " ".join(words[30:]) + ".", positive)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = random.Random(0)
    (tmp_path / "imdb").mkdir()
    for part, count in (("train", 400), ("val", 60), ("test", 80)):
        reviews = [review(rng, positive=i >= count // 2) for i in range(count)]  # sorted by label, as the real files
        rows = [
            {
                "id": f"{part}/{i}",
                "rating": 9 if r.positive else 2,
                "label": "pos" if r.positive else "neg",
                "text": r.text,
            }
            for i, r in enumerate(reviews)
        ]
        (tmp_path / "imdb" / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "imdb"


def test_bag_of_words_learns_what_words_mean_and_is_saved_whole(tmp_path: Path) -> None:
    rng = random.Random(1)
    words = sentiment.train([review(rng, positive=i % 2 == 0) for i in range(200)])
    assert words.log_odds("great and clever") > 0 > words.log_odds("awful and boring")
    assert words.log_odds("dog") == pytest.approx(words.bias, abs=0.5)
    assert sentiment.accuracy_of(words, [review(rng, positive=i % 2 == 0) for i in range(50)]).value == 1
    words.save(tmp_path / "words.json")
    assert BagOfWords.load(tmp_path / "words.json") == words


def test_bag_of_words_is_where_its_gradient_vanishes() -> None:
    """By hand: one feature in all positive texts; penalty·w = n·σ(−w−b) at the optimum, and the bias balances."""
    reviews = [Review("yes", True)] * 10 + [Review("no", False)] * 10
    words = sentiment.train(reviews, penalty=1.0)
    assert words.weights["yes"] == pytest.approx(-words.weights["no"], abs=1e-3)
    assert words.weights["yes"] == pytest.approx(10 / (1 + math.exp(words.weights["yes"] + words.bias)), abs=1e-2)


def test_labels_of_one_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="both kinds"):
        sentiment.train([Review("a b", True)] * 9)


def test_gold_reads_prompt_and_completion() -> None:
    gold = Sentiment(BagOfWords(weights={"good": 2.0, "good film": 1.0}, bias=-0.5))
    assert gold("A good", " film") == pytest.approx(2.5)
    assert gold("A bad", " film") == pytest.approx(-0.5)


def test_a_classifier_of_the_hub(tmp_path: Path) -> None:
    hf = make_tokenizer(["good bad film"], SIZE)
    hf.pad_token = hf.eos_token
    config = BertConfig(
        vocab_size=len(hf), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64, id2label={0: "POSITIVE", 1: "NEGATIVE"}, label2id={"POSITIVE": 0, "NEGATIVE": 1},
    )  # fmt: skip
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    hf.save_pretrained(tmp_path)
    logits = model(**hf("good film", return_tensors="pt")).logits[0].tolist()
    assert HubClassifier(str(tmp_path)).log_odds("good film") == pytest.approx(logits[0] - logits[1], abs=1e-5)
    config.id2label = {0: "LABEL_0", 1: "LABEL_1"}
    config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no class called positive"):
        HubClassifier(str(tmp_path))


def test_windows_hold_every_token_once() -> None:
    tokenizer = Tokenizer(make_tokenizer(["one two three four five"] * 5, SIZE))
    text = "one two three four five one two"
    rows = windows([text, "one"], tokenizer, length=3, most=9)
    ids = [i for row in rows for i in row.response]
    assert tokenizer.hf.decode(ids) == f"{text}<|endoftext|>one<|endoftext|>"
    assert rows[0].prompt == (tokenizer.bos,)
    assert rows[1].prompt == rows[0].response[-1:]
    assert len(windows([text], tokenizer, length=3, most=1)) == 1


def test_too_few_reviews_are_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="400 training reviews"):
        imdb_sentiment.main(IMDBSentiment(data=folder, out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"tiny": True, "classifier_reviews": 9}, "--classifier-reviews has no effect with --tiny"),
        ({"model": "m", "language": LanguageModelling(rows=3)}, "--language has no effect with --model"),
        ({"classifier": "c", "classifier_reviews": 9}, "--classifier-reviews has no effect with --classifier"),
    ],
)
def test_options_without_effect_are_refused(tmp_path: Path, changes: dict[str, Any], option: str) -> None:
    with pytest.raises(ValueError, match=option):
        imdb_sentiment.main(IMDBSentiment(out=tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.recipe
def test_tiny_run_and_its_resumption(folder: Path, tmp_path: Path) -> None:
    config = IMDBSentiment(data=folder, out=tmp_path / "run", tiny=True)
    summary = imdb_sentiment.main(config)
    assert summary["classifier"]["reviews"]["value"] > 0.9
    assert summary["gold_win_rate"]["n"] == 32
    assert (config.out / "report.html").exists()
    assert load_policy(config.out / "language_model").temperature == load_policy(config.out / "ppo").temperature == 0.7
    rows = [json.loads(line) for line in (config.out / "ppo" / "metrics.jsonl").read_text().splitlines()]
    assert [row["response_length"] for row in rows] == [24, 24]
    assert imdb_sentiment.main(config) == summary | {
        "peak_rss_mb": read_json(config.out / "summary.json")["peak_rss_mb"]
    }


@pytest.mark.recipe
def test_a_model_of_ones_own(folder: Path, tmp_path: Path) -> None:
    make_model(tmp_path / "model", [" ".join(PLAIN + GOOD + BAD) + "."], SIZE, seed=0)
    config = IMDBSentiment(data=folder, out=tmp_path / "run", tiny=True, model=str(tmp_path / "model"))
    imdb_sentiment.main(config)
    assert load_policy(tmp_path / "model").temperature == 1.0
    assert load_policy(config.out / "language_model").temperature == 0.7


@pytest.mark.recipe
@pytest.mark.data
def test_real_reviews(data_dir: Path, tmp_path: Path) -> None:
    config = IMDBSentiment(
        data=data_dir / "sentiment" / "imdb", out=tmp_path / "run", tiny=True, control="shuffled-labels"
    )
    summary = imdb_sentiment.main(config)
    assert summary["classifier"]["reviews"]["low"] > 0.6
    assert summary["control"] == "shuffled-labels"
