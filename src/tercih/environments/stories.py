"""Go on with a children's story, as cheerfully as you can (prompts from TinyStories, arXiv:2305.07759)."""

from functools import cache
from pathlib import Path
from typing import Any

from tercih.environments.text import Split, TextTask, continuation_task, files_at
from tercih.records import Content
from tercih.sources import stories

SUFFIXES = (".txt", ".txt.gz", ".txt.xz")


@cache
def _analyzer() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer  # only this gold needs its word list

    return SentimentIntensityAnalyzer()


def gold(prompt: Content, completion: str) -> float:
    """How cheerful a completion is: VADER's compound score (Hutto & Gilbert 2014), from -1 to 1.

    It looks at words only. A heap of happy ones scores highest, which makes this task a good example of
    over-optimisation: without a penalty for leaving the base model, that heap is what a policy finds.
    """
    return float(_analyzer().polarity_scores(completion)["compound"])


def task(path: str | Path, split: Split | None = None, max_new_tokens: int = 48) -> TextTask:
    """Stories from one file or from every text file of a folder; demonstrations are how they really went on."""
    files = files_at(path, SUFFIXES, hub="roneneldan/TinyStories")
    texts = [story for file in files for story in stories.read(file)]
    return continuation_task("stories", texts, gold, split or Split(), max_new_tokens)
