"""The loop on film reviews, from nothing but IMDB (Ziegler et al. 2019, arXiv:1909.08593, §3.1.1).

The raters' hidden taste is a classifier's log-odds that an opening with 24 more tokens is positive. Classifier and
language model learn from different reviews, and prompts are openings of a third part. The method is the `ziegler2019`
preset at a size for two cores: fewer and smaller batches, what these ask for (see `adapted`), and pairs in place of the
best of four.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tercih.algorithms.sft import SFT
from tercih.batches import Batch
from tercih.data.collate import collate
from tercih.data.offline import Offline
from tercih.data.tokenize import Tokenizer
from tercih.environments import imdb as environment
from tercih.environments.text import Split, files_at
from tercih.feedback.simulated import PANEL, Control
from tercih.forward import Models
from tercih.models.language_model import LanguageModel
from tercih.models.load import load_causal, save_model
from tercih.optimisation import Optimisation
from tercih.recipes import sentiment
from tercih.recipes.evaluate import EvaluationSettings
from tercih.recipes.loop import LoopSettings, close_the_loop
from tercih.recipes.presets import ZIEGLER2019 as PAPER
from tercih.recipes.scratch import ScratchModel, make_model, refuse, windows
from tercih.recipes.sentiment import Review
from tercih.recipes.stages import FeedbackSettings, PolicySettings, RewardSettings
from tercih.run import Run, read_json, write_json
from tercih.sources import imdb
from tercih.sources.rows import SourceError
from tercih.train import fit

SMALL_REWARD = Optimisation(lr=1e-3, schedule="cosine", warmup=0.05, weight_decay=0.01)
SNIPPET = 40  # words; about as much as prompt and continuation are


def adapted(steps: int, prompts: int) -> PolicySettings:
    """The paper's settings, but for what its 2000 steps of 512 bear and so few do not.

    A small model learns with a larger rate; a KL controller that could answer in time would swing, so the coefficient
    is fixed; and λ is 1, with one epoch a rollout, because the values know nothing yet.
    """
    return replace(
        PAPER.policy,
        steps=steps,
        prompts_per_step=prompts,
        method=replace(PAPER.policy.method, kl_coef=0.1, kl_target=None, epochs=1, lam=1.0),
        optimisation=replace(PAPER.policy.optimisation, lr=3e-4),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageModelling:
    """How the language model is made, where none is given: the first `windows` windows of each of `reviews` reviews."""

    reviews: int = 6000
    windows: int = 2
    length: int = 64
    """Tokens in a window."""
    rows: int = 16
    """Windows in a step."""
    size: ScratchModel = ScratchModel(layers=3, context=128)
    optimisation: Optimisation = Optimisation(lr=3e-3, schedule="cosine", warmup=0.05, betas=(0.9, 0.95))


@dataclass(frozen=True, kw_only=True, slots=True)
class IMDBSentiment:
    """Positive continuations of film reviews by PPO on a reward model of simulated raters."""

    model: str = ""
    """Folder or Hub name of a language model of film reviews. Empty: a small one is trained here."""
    classifier: str = ""
    """Folder or Hub name of a sequence classifier with a class "positive". Empty: a bag of words is trained here."""
    data: Path = Path(os.environ.get("TERCIH_DATA", "../shared/data")) / "sentiment" / "imdb"
    """Folder with train, val and test .jsonl (or .gz, .xz) of id, rating, label and text."""
    out: Path = Path("runs/imdb_sentiment")
    """Run folder; the same command on the same folder goes on where it was."""
    seed: int = 0
    control: Control = "none"
    """"shuffled-labels" is the negative control: nothing can then be learned from the raters."""
    tiny: bool = False
    """A minute's version of everything, to see that it runs."""
    classifier_reviews: int = 4000
    """Reviews the classifier learns from; those of the language model are others."""
    language: LanguageModelling = LanguageModelling()
    loop: LoopSettings = LoopSettings(
        feedback=FeedbackSettings(pairs=4000, votes=3, heldout_pairs=400),
        reward=RewardSettings(epochs=3, optimisation=SMALL_REWARD),
        policy=adapted(steps=45, prompts=128),
        evaluation=EvaluationSettings(prompts=400, best_of_prompts=60),
    )


def shrunk(config: IMDBSentiment) -> IMDBSentiment:
    """What --tiny runs."""
    refuse(config, ["classifier_reviews", "language", "loop"], "--tiny")
    loop = LoopSettings(
        feedback=FeedbackSettings(pairs=64, votes=3, heldout_pairs=16),
        reward=RewardSettings(epochs=1, optimisation=SMALL_REWARD),
        policy=adapted(steps=2, prompts=16),
        evaluation=EvaluationSettings(prompts=32, best_of=4, best_of_prompts=8),
    )
    size = ScratchModel(vocabulary=512, hidden=32, layers=1, heads=2, context=128)
    language = replace(config.language, reviews=200, windows=1, size=size)
    return replace(config, classifier_reviews=200, language=language, loop=loop)


def main(config: IMDBSentiment) -> dict[str, Any]:
    if config.model:
        refuse(config, ["language"], "--model")
    if config.classifier:
        refuse(config, ["classifier_reviews"], "--classifier")
    settings = shrunk(config) if config.tiny else config
    train, heldout = _reviews(config.data, "train", config.seed), _reviews(config.data, "val", config.seed)
    aside = 0 if config.classifier else settings.classifier_reviews
    if len(train) < aside + (0 if config.model else settings.language.reviews):
        raise SourceError(
            f"{config.data} has {len(train)} training reviews, fewer than --classifier-reviews"
            f" {settings.classifier_reviews} and --language.reviews {settings.language.reviews} together; lower these"
        )
    for_classifier, rest = train[:aside], train[aside:]
    run = Run(config.out, "imdb_sentiment", config, seed=config.seed, control=config.control, simulated_raters=True)
    judge = run.stage(
        "classifier",
        "Make the raters' hidden taste",
        lambda folder: make_classifier(folder, settings, for_classifier, heldout),
    )
    base = run.stage(
        "language_model",
        "Make the language model",
        lambda folder: make_language_model(folder, settings, [review.text for review in rest]),
    )
    gold = sentiment.Sentiment(_load_classifier(config.classifier, judge))
    prompts = _file(config.data, "test")
    task = environment.task(prompts, gold, Split(seed=config.seed, heldout=settings.loop.evaluation.prompts))
    summary = close_the_loop(run, base, task, PANEL, settings.loop, seed=config.seed, control=config.control)
    summary["classifier"] = read_json(judge / "heldout.json")
    write_json(run.folder / "summary.json", summary)
    return summary


def make_classifier(folder: Path, settings: IMDBSentiment, train: Sequence[Review], heldout: Sequence[Review]) -> str:
    """A bag of words of snippets as short as what it will judge; measured on whole reviews and on snippets."""
    if not settings.classifier:
        seen = {review.text for review in heldout}
        sentiment.train(_snippets([review for review in train if review.text not in seen])).save(folder / "words.json")
    classifier = _load_classifier(settings.classifier, folder)
    sample = heldout[:500] if settings.classifier else heldout
    whole = sentiment.accuracy_of(classifier, sample)
    short = sentiment.accuracy_of(classifier, _snippets(sample)[:2000])
    write_json(folder / "heldout.json", {"reviews": asdict(whole), "snippets": asdict(short)})
    return f"right on {whole} of held-out reviews, on {short} of their snippets of {SNIPPET} words"


def make_language_model(folder: Path, settings: IMDBSentiment, texts: Sequence[str]) -> str:
    """A model that samples at the paper's temperature: trained on reviews, or the given one copied here."""
    temperature = PAPER.sampling.temperature
    if settings.model:
        given = LanguageModel(load_causal(settings.model), temperature=temperature)
        save_model(given, Tokenizer.load(settings.model).hf, folder)
        return f"{settings.model}, at temperature {temperature}"
    language, texts = settings.language, texts[: settings.language.reviews]
    model = make_model(folder, texts, language.size, settings.seed, temperature=temperature)
    tokenizer = Tokenizer.load(folder)
    model.temperature = 1.0  # it learns the distribution as it is
    data = Offline(
        records=windows(texts, tokenizer, language.length, language.windows),
        collate=lambda rows: Batch(tokens=collate(rows)),
        size=language.rows,
        seed=settings.seed,
    )
    metrics = fit(SFT(), Models(policy=model), data, language.optimisation, folder, title="reading reviews")
    model.temperature = temperature
    save_model(model, tokenizer.hf, folder)
    return f"{len(texts)} reviews, {metrics['nats_per_token']:.2f} nats per token at the end"


def _reviews(folder: Path, part: str, seed: int) -> list[Review]:
    """In random order; the files are sorted by label."""
    rows = imdb.read(_file(folder, part))
    reviews = [Review(str(r.item.completion).replace("<br />", "\n"), r.item.columns["label"] == "pos") for r in rows]
    return [reviews[i] for i in np.random.default_rng((seed, 5)).permutation(len(reviews))]


def _file(folder: Path, part: str) -> Path:
    suffixes = tuple(part + suffix for suffix in environment.SUFFIXES)
    return files_at(folder, suffixes, hub="stanfordnlp/imdb")[0]


def _snippets(reviews: Sequence[Review]) -> list[Review]:
    return [Review(piece, review.positive) for review in reviews for piece in sentiment.snippets(review.text, SNIPPET)]


def _load_classifier(name: str, folder: Path) -> sentiment.Classifier:
    return sentiment.HubClassifier(name) if name else sentiment.BagOfWords.load(folder / "words.json")
