"""Who says whether a text is positive: the gold score of the sentiment task."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from scipy import optimize, sparse, special
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tercih.evaluation.intervals import Estimate, wilson
from tercih.records import Content

WORD = re.compile(r"[a-z']+|[!?]")


class Review(NamedTuple):
    text: str
    positive: bool


class Classifier(Protocol):
    """The log-odds that a text is positive: P(positive) = σ(log_odds)."""

    def log_odds(self, text: str) -> float: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class BagOfWords:
    """Logistic regression on which words and pairs of neighbouring words occur: log-odds add up word by word."""

    weights: dict[str, float]
    bias: float

    def log_odds(self, text: str) -> float:
        return self.bias + sum(self.weights.get(feature, 0.0) for feature in features(text))

    def save(self, path: Path) -> None:
        path.write_text(json.dumps({"bias": self.bias, "weights": self.weights}, ensure_ascii=False))

    @classmethod
    def load(cls, path: Path) -> "BagOfWords":
        content = json.loads(path.read_text())
        return cls(weights=content["weights"], bias=content["bias"])


class HubClassifier:
    """A sequence classifier of the Hub with a class called positive (`pos`), such as an SST-2 or IMDB one."""

    def __init__(self, name: str) -> None:
        self.model = AutoModelForSequenceClassification.from_pretrained(name).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(name)
        labels = {index: str(label).lower() for index, label in self.model.config.id2label.items()}
        positive = [index for index, label in labels.items() if label in ("positive", "pos")]
        if len(positive) != 1:
            raise ValueError(f"{name} has no class called positive; its classes are {', '.join(labels.values())}")
        self.positive = positive[0]

    @torch.no_grad()
    def log_odds(self, text: str) -> float:
        """Of the beginning of the text, as far as the classifier's context reaches."""
        inputs = self.tokenizer(text, truncation=True, return_tensors="pt")
        logits = self.model(**inputs).logits[0].double()
        others = [index for index in range(len(logits)) if index != self.positive]
        return float(logits[self.positive] - logits[others].logsumexp(0))


@dataclass(frozen=True, slots=True)
class Sentiment:
    """The task's gold: the log-odds that prompt and completion together are positive."""

    classifier: Classifier

    def __call__(self, prompt: Content, completion: str) -> float:
        return self.classifier.log_odds(f"{prompt}{completion}")


def features(text: str) -> set[str]:
    words = WORD.findall(text.lower())
    return {*words, *(f"{a} {b}" for a, b in pairwise(words))}


def snippets(text: str, words: int) -> Iterator[str]:
    """The text in pieces of so many words, as short as what will be judged."""
    parts = text.split()
    for start in range(0, len(parts), words):
        yield " ".join(parts[start : start + words])


def train(reviews: Sequence[Review], *, seen: int = 5, penalty: float = 10.0) -> BagOfWords:
    """Maximum likelihood with penalty/2·|w|², on features of at least `seen` texts; it is convex, so needs no seed."""
    found = [features(review.text) for review in reviews]
    counts = Counter(feature for each in found for feature in each)
    column = {feature: i for i, feature in enumerate(sorted(f for f, count in counts.items() if count >= seen))}
    rows = [[column[f] for f in sorted(each) if f in column] for each in found]
    if not column or len({review.positive for review in reviews}) < 2:
        raise ValueError("a classifier needs texts of both kinds with words in common")
    indices = np.array([i for row in rows for i in row])
    pointers = np.cumsum([0, *map(len, rows)])
    x = sparse.csr_matrix((np.ones(len(indices)), indices, pointers), shape=(len(rows), len(column)))
    sign = np.array([1.0 if review.positive else -1.0 for review in reviews])

    def objective(w: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (x @ w[:-1] + w[-1])
        pull = -sign * special.expit(-margin)
        loss = np.logaddexp(0, -margin).sum() + penalty / 2 * w[:-1] @ w[:-1]
        return float(loss), np.append(x.T @ pull + penalty * w[:-1], pull.sum())

    w = optimize.minimize(objective, np.zeros(len(column) + 1), jac=True, method="L-BFGS-B").x
    return BagOfWords(weights={feature: float(w[i]) for feature, i in column.items()}, bias=float(w[-1]))


def accuracy_of(classifier: Classifier, reviews: Sequence[Review]) -> Estimate:
    odds = [classifier.log_odds(review.text) for review in reviews]
    if not all(math.isfinite(value) for value in odds):
        raise ValueError("the classifier gives log-odds that are not finite")
    right = sum((value > 0) == review.positive for value, review in zip(odds, reviews, strict=True))
    return wilson(right, len(reviews))
