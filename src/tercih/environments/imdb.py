"""Go on with a film review (Ziegler et al. 2019, arXiv:1909.08593, §3.1.1): gold is a classifier's opinion."""

from pathlib import Path

from tercih.environments.text import Gold, Split, TextTask, continuation_task, files_at
from tercih.sources import imdb

SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.xz")


def task(path: str | Path, gold: Gold, split: Split | None = None, max_new_tokens: int = 24) -> TextTask:
    """Reviews from one file or from every JSONL file of a folder (give the training file alone, where there are more).

    `gold` is the caller's: train a classifier on the labels of reviews that are not in `path`. HTML line breaks become
    plain ones.
    """
    files = files_at(path, SUFFIXES, hub="stanfordnlp/imdb")
    texts = [str(review.item.completion).replace("<br />", "\n") for file in files for review in imdb.read(file)]
    return continuation_task("imdb", texts, gold, split or Split(continuation=24), max_new_tokens)
