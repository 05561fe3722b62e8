"""Texts of known lengths in tokens, and how much of a padded batch of them is worth computing."""

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """`rows` of at most `length` tokens in a batch."""

    rows: int
    length: int


def size_of(parameters: int) -> Size:
    """As much as a step of some seconds can hold."""
    if parameters < 2_000_000:
        return Size(rows=32, length=256)
    return Size(rows=16, length=256) if parameters < 50_000_000 else Size(rows=8, length=256)


def spread(count: int, low: int, high: int, *, seed: int) -> list[int]:
    """Lengths evenly from `low` to `high`: the longest first, the others in random order."""
    lengths = [round(low + (high - low) * i / max(1, count - 1)) for i in range(count - 1)]
    random.Random(seed).shuffle(lengths)
    return [high, *lengths]


def text(words: Sequence[str], tokens: int, dice: random.Random) -> str:
    return " ".join(dice.choices(words, k=tokens))


def demonstrations(words: Sequence[str], size: Size, *, equal: bool) -> list[dict[str, str]]:
    """With unequal lengths, half of the positions of a padded batch are padding."""
    dice = random.Random(0)
    whole = [size.length] * size.rows if equal else spread(size.rows, 16, size.length - 16, seed=1)
    made = []
    for length in whole:
        prompt = 8 if equal else max(4, length // 4)
        completion = length - prompt - 2  # BOS and EOS come to it
        made.append({"prompt": text(words, prompt, dice), "completion": " " + text(words, completion, dice)})
    return made


def preferences(words: Sequence[str], size: Size, *, equal: bool) -> list[dict[str, str]]:
    """With unequal lengths, half of the positions of a padded batch are padding or the second copy of a prompt."""
    dice, pairs = random.Random(0), size.rows // 2
    low, high = size.length // 8, size.length // 2
    prompts = [size.length // 16] * pairs if equal else spread(pairs, low, high, seed=1)
    rest = size.length - size.length // 16
    answers = [[rest] * pairs if equal else spread(pairs, low, high, seed=seed) for seed in (2, 3)]
    return [
        {
            "prompt": text(words, p - 1, dice),
            "chosen": " " + text(words, a - 1, dice),
            "rejected": " " + text(words, b - 1, dice),
        }
        for p, a, b in zip(prompts, *answers, strict=True)
    ]


def wasted(lengths: Sequence[int], shared: Sequence[int] = ()) -> float:
    """The share of a batch padded to its longest row that is padding or a copy of a prompt."""
    return 1 - (sum(lengths) - sum(shared)) / (max(lengths) * len(lengths))
