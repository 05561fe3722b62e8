"""A tiny language of questions and answers, so that the whole loop runs without a network, a model or a data set.

A visitor asks where a thing is, when a place opens, how to clean a thing or what it costs; a helper answers in one of
several moods, some helpful and some not. `sample_texts` is a corpus to pre-train on, `demonstrations` show decent but
not perfect answers, and `gold` is the hidden preference that raters are simulated with. A seed decides everything.

A text is `prompt + completion`: "Visitor: Hello, where is the blue lamp?\\nHelper:" and " It is on the oak desk.". The
completion starts with the space, which byte-level BPE keeps together with the word that follows: tokenising the two
parts apart gives the same tokens as tokenising the whole.
"""

import hashlib
import random
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

from tercih.environments.grammar_rules import RULES, regex, tokens, variants, write
from tercih.environments.text import TextTask
from tercih.records import Content, Demonstration, Text

KINDS = ("where", "when", "how", "cost")
MOODS = ("plain", "warm", "curt", "vague", "rude", "contrary")
SENTENCES = ("answer", ".curt", "opening", "offer", "closing", "unsure", "insult", "oops")
DETAILS = tuple(f"{kind}.{part}" for kind in KINDS for part in ("first", "second"))
# How often the base corpus and the demonstrations answer in which mood. Two moods are no rule of their own: "stray"
# answers another question or about another thing, "echo" says its sentence twice.
BASE = {"plain": 34, "warm": 12, "curt": 15, "vague": 14, "rude": 8, "stray": 7, "echo": 5, "contrary": 5}
DEMONSTRATED = {"plain": 62, "warm": 16, "curt": 16, "vague": 6}


def texts_possible() -> int:
    """A lower bound on the number of distinct texts (stray and echoed replies come on top)."""
    return sum(_prompts_possible(kind) * sum(variants(mood, kind) for mood in MOODS) for kind in KINDS)


def _nouns(kind: str) -> tuple[str, ...]:
    return RULES["place" if kind == "when" else "thing"]


def _prompts_possible(kind: str) -> int:
    return variants("greeting", kind) * variants(f"{kind}.question", kind) * len(RULES["adjective"]) * len(_nouns(kind))


def _topic(rng: random.Random, kind: str) -> str:
    return f"{rng.choice(RULES['adjective'])} {rng.choice(_nouns(kind))}"


def _question(rng: random.Random) -> tuple[str, str, str]:
    """A random prompt with what it asks: (prompt, kind, topic)."""
    kind = rng.choice(KINDS)
    topic = _topic(rng, kind)
    asked = f"{write(rng, 'greeting', kind, topic)}, {write(rng, kind + '.question', kind, topic)}"
    return f"Visitor: {asked}?\nHelper:", kind, topic


def _reply(rng: random.Random, mood: str, kind: str, topic: str) -> str:
    if mood == "stray":
        if rng.random() < 0.5:
            kind = rng.choice([other for other in KINDS if other != kind])
        else:
            noun = rng.choice([noun for noun in _nouns(kind) if noun != topic.split()[1]])
            topic = f"{topic.split()[0]} {noun}"
        mood = "plain"
    if mood == "echo":
        return " " + " ".join([write(rng, "plain", kind, topic)] * 2)
    return " " + write(rng, mood, kind, topic)


def _mood(rng: random.Random, weights: dict[str, int]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


def sample_texts(seed: int, count: int) -> Iterator[str]:
    """Stream `count` distinct texts of the base corpus, whose moods come in the proportions of `BASE`."""
    rng, seen = random.Random(f"texts {seed}"), set[bytes]()
    for _ in range(count):
        mood = _mood(rng, BASE)
        for _attempt in range(1000):  # again in the same mood, so that the proportions stay as promised
            prompt, kind, topic = _question(rng)
            text = prompt + _reply(rng, mood, kind, topic)
            digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
            if digest not in seen:
                break
        else:
            raise ValueError(f"the grammar has no {count} distinct texts: its {mood} replies are used up")
        seen.add(digest)
        yield text


def _questions(seed: int, count: int) -> list[tuple[str, str, str]]:
    limit = sum(_prompts_possible(kind) for kind in KINDS) // 2
    if not 0 <= count <= limit:
        raise ValueError(f"count of grammar prompts must be between 0 and {limit}, got {count}")
    rng, found = random.Random(f"prompts {seed}"), dict[str, tuple[str, str, str]]()
    while len(found) < count:
        question = _question(rng)
        found[question[0]] = question
    return list(found.values())


def prompts(seed: int, count: int) -> tuple[Text, ...]:
    """`count` distinct prompts; a longer draw with the same seed starts with the same ones."""
    return tuple(Text(prompt=prompt, completion="") for prompt, _, _ in _questions(seed, count))


def demonstrations(seed: int, count: int) -> tuple[Demonstration, ...]:
    """Decent answers, though not perfect ones, to `prompts(seed, count)`."""
    rng = random.Random(f"demonstrations {seed}")
    shown = []
    for prompt, kind, topic in _questions(seed, count):
        reply = _reply(rng, _mood(rng, DEMONSTRATED), kind, topic)
        shown.append(Demonstration(item=Text(prompt=prompt, completion=reply, origin="grammar"), rater="grammar"))
    return tuple(shown)


# What each thing that a visitor likes or minds is worth. The best replies to any question reach exactly 1.
MERITS = {
    "noun": 0.1,  # the thing that was asked about is named,
    "name": 0.12,  # in full: "the blue lamp"
    "first": 0.3,  # a detail of the right kind: a place for where, an hour for when, …
    "second": 0.18,  # and a further one
    "opening": 0.15,
    "offer": 0.12,
    "closing": 0.13,
    "complete": 0.1,
}
FAULTS = {
    "start": 0.2,  # every reply pays this, so that an empty phrase is worth less than nothing
    "rude": 0.4,
    "unsure": 0.15,
    "other": 0.2,  # another thing is named
    "stray": 0.1,  # a detail that answers another question
    "contrary": 0.25,  # two different details of one sort
    "again": 0.1,  # two words that stood together already
    "long": 0.03,  # each token beyond patience
    "odd": 0.04,  # each token outside a whole sentence
}
PATIENCE = 34  # tokens, signs included
RUDE = frozenset({"yourself", "bother", "silly", "fool", "nonsense", "busy", "nobody", "friends"})
UNSURE = frozenset({"maybe", "perhaps", "unsure", "guess", "think", "sometimes", "somewhere"})


@cache
def _finder(rule: str) -> re.Pattern[str]:
    return re.compile(rf"\b{regex(rule)}(?!\w)")


@cache
def _sentence() -> re.Pattern[str]:
    """A whole sentence of the language."""
    return re.compile(
        "|".join(regex(kind + rule if rule[0] == "." else rule, kind) for kind in KINDS for rule in SENTENCES)
    )


def _odd(text: str) -> int:
    """How many tokens stand outside a whole sentence."""
    pieces = re.findall(r"[^.!?]+[.!?]|[^.!?]+$|[.!?]", text)
    return sum(len(tokens(piece)) for piece in pieces if not _sentence().fullmatch(piece.strip(" ")))


def _asked(prompt: Content) -> tuple[str, str]:
    """What kind of question a prompt asks, and about which thing."""
    text = prompt if isinstance(prompt, str) else ""
    for kind in KINDS:
        if _finder(f"{kind}.question").search(text) and (topic := _finder("topic").search(text)):
            return kind, topic.group()
    raise ValueError(f"grammar.gold can only judge replies to prompts of the grammar, got {prompt!r}")


def merits(prompt: Content, completion: str) -> dict[str, float]:
    """How often a reply does each thing that visitors like; nothing counts twice, and courtesy has its place."""
    kind, topic = _asked(prompt)
    text = completion.strip()
    opening, closing = _finder("opening").match(text), _finder("closing").findall(text)
    return {
        "noun": topic.split()[1] in tokens(text),
        "name": bool(re.search(rf"\bthe {topic}\b", text, re.IGNORECASE)),
        "first": bool(_finder(f"{kind}.first").search(text)),
        "second": bool(_finder(f"{kind}.second").search(text)),
        "opening": bool(opening),
        "offer": bool(_finder("offer").search(text)),
        "closing": bool(closing) and text.endswith(closing[-1]),
        "complete": text.endswith((".", "!")),
    }


def faults(prompt: Content, completion: str) -> dict[str, float]:
    """How often a reply does each thing that visitors mind."""
    kind, topic = _asked(prompt)
    words = tokens(completion.strip())
    pairs = list(pairwise(words))
    details = {part: set(_finder(part).findall(completion)) for part in DETAILS}
    nouns = {*RULES["thing"], *RULES["place"]} - {topic.split()[1]}
    lower = [word.lower() for word in words]
    return {
        "start": 1,
        "rude": sum(word in RUDE for word in lower),
        "unsure": sum(word in UNSURE for word in lower),
        "other": len(nouns & set(words)),
        "stray": sum(len(found) for part, found in details.items() if not part.startswith(kind)),
        "contrary": sum(max(0, len(found) - 1) for part, found in details.items() if part.startswith(kind)),
        "again": len(pairs) - len(set(pairs)),
        "long": max(0, len(words) - PATIENCE),
        "odd": _odd(completion.strip()),
    }


def gold(prompt: Content, completion: str) -> float:
    """The hidden preference, in [-1, 1]: what a visitor thinks of a reply."""
    if not completion.strip():
        return -1.0
    good = sum(MERITS[name] * times for name, times in merits(prompt, completion).items())
    bad = sum(FAULTS[name] * times for name, times in faults(prompt, completion).items())
    return max(-1.0, good - bad)


def task(seed: int = 0, train: int = 4096, heldout: int = 512, demonstrated: int = 1024) -> TextTask:
    """The grammar as a task; the first of the training prompts are the demonstrated ones."""
    pool = prompts(seed, max(train, demonstrated) + heldout)
    return TextTask(
        name="grammar",
        train=pool[:train],
        heldout=pool[len(pool) - heldout :],
        demonstrations=demonstrations(seed, demonstrated),
        gold=gold,
        max_new_tokens=64,
        stop=("\n",),
    )
