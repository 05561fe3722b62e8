"""What a text task is: prompts to answer, answers to learn from, and the preference that nobody may show the policy."""

import random
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tercih.records import Content, Demonstration, Text
from tercih.sources.rows import SourceError

Gold = Callable[[Content, str], float]


@dataclass(frozen=True, kw_only=True, slots=True)
class TextTask:
    """One text task, ready to sample.

    `train` and `heldout` are prompts (their `completion` is empty) with no prompt in common. `demonstrations` answer
    prompts that are never held out. `gold(prompt, completion)` is the *hidden* preference: only simulated raters and
    evaluation may call it, never the policy or its reward. Generation ends at EOS, before the first of `stop`, or
    after `max_new_tokens`.
    """

    name: str
    train: tuple[Text, ...]
    heldout: tuple[Text, ...]
    demonstrations: tuple[Demonstration, ...]
    gold: Gold
    max_new_tokens: int
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.train:
            raise ValueError(f"task {self.name}: train has no prompt")
        if self.max_new_tokens < 1:
            raise ValueError(f"task {self.name}: max_new_tokens must be >= 1, got {self.max_new_tokens}")
        if any(item.completion for item in self.train + self.heldout):
            raise ValueError(f"task {self.name}: train and heldout are prompts, their completion must be empty")
        secret = {item.prompt for item in self.heldout}
        seen = {item.prompt for item in self.train} | {shown.item.prompt for shown in self.demonstrations}
        if secret & seen:
            raise ValueError(f"task {self.name}: {len(secret & seen)} held-out prompts are also trained on")


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """How a continuation task cuts its texts.

    An opening has between `words[0]` and `words[1]` words; equal texts, and texts whose openings come out equal, count
    as one, and texts that end with their opening are left out. A demonstration goes on for `continuation` words at
    most. `train` is None for all texts that are not held out.
    """

    seed: int = 0
    train: int | None = None
    heldout: int = 256
    words: tuple[int, int] = (8, 16)
    continuation: int = 60

    def __post_init__(self) -> None:
        if not 1 <= self.words[0] <= self.words[1]:
            raise ValueError(f"split.words must be (fewest, most) with 1 <= fewest <= most, got {self.words}")
        if self.heldout < 0 or self.continuation < 1 or (self.train is not None and self.train < 1):
            raise ValueError(f"split needs heldout >= 0, continuation >= 1 and train >= 1, got {self}")


def cut(text: str, words: int) -> tuple[str, str]:
    """The first words of a text and the rest, which keeps the white space it starts with."""
    ends = [match.end() for match in re.finditer(r"\S+", text)]
    end = ends[min(words, len(ends)) - 1] if ends else 0
    return text[:end], text[end:]


def continuation_task(name: str, texts: Iterable[str], gold: Gold, split: Split, max_new_tokens: int) -> TextTask:
    """A task whose prompts are openings of real texts and whose demonstrations are how these went on."""
    rng = random.Random(f"{name} {split.seed}")
    fewest, most = split.words
    distinct = dict.fromkeys(text.strip() for text in texts)
    pairs = list(dict(cut(text, rng.randint(fewest, most)) for text in distinct if len(text.split()) > most).items())
    rng.shuffle(pairs)
    heldout, rest = pairs[: split.heldout], pairs[split.heldout :]
    if len(rest) < (split.train or 1):
        wanted = f"{split.train or 'at least 1'} + {split.heldout} held out"
        raise ValueError(f"task {name} has {len(pairs)} distinct openings, fewer than {wanted}; give more texts")
    train = rest[: split.train]
    shown = (Text(prompt=prompt, completion=cut(more, split.continuation)[0], origin=name) for prompt, more in train)
    return TextTask(
        name=name,
        train=tuple(Text(prompt=prompt, completion="") for prompt, _ in train),
        heldout=tuple(Text(prompt=prompt, completion="") for prompt, _ in heldout),
        demonstrations=tuple(Demonstration(item=item, rater=name) for item in shown),
        gold=gold,
        max_new_tokens=max_new_tokens,
    )


def files_at(path: str | Path, suffixes: tuple[str, ...], hub: str) -> list[Path]:
    """The file at `path`, or the folder's files whose name ends in one of `suffixes`."""
    path = Path(path)
    found = [path] if path.is_file() else sorted(file for file in path.glob("*") if file.name.endswith(suffixes))
    if not found:
        mend = f"put files of the Hub data set {hub} there, or set TERCIH_DATA to the folder that holds your data"
        raise SourceError(f"{path}: no file that ends in {', '.join(suffixes)}; {mend}")
    return found
