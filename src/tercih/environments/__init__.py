"""What a policy acts in. The text tasks by name; each is made by a function that says what it needs."""

from collections.abc import Callable

from tercih.environments import grammar, imdb, stories
from tercih.environments.text import Gold, TextTask

TEXT_TASKS: dict[str, Callable[..., TextTask]] = {
    "grammar": grammar.task,
    "stories": stories.task,
    "imdb": imdb.task,
}

__all__ = ["TEXT_TASKS", "Gold", "TextTask"]
