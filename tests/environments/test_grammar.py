"""The tiny language is large enough, decided by its seed, and its gold cannot be won by tricks."""

import random
import re
from itertools import islice
from statistics import mean, pstdev

import pytest

from tercih.environments import TEXT_TASKS, grammar
from tercih.environments.grammar import gold
from tercih.environments.grammar_rules import RULES, tokens, variants, write
from tercih.records import Message

WHERE = "Visitor: Hello, where is the blue lamp?\nHelper:"
PLAIN = " The blue lamp is on the oak desk."
GOOD = " The blue lamp is on the oak desk, next to the clock."
BEST = (
    " Of course! The blue lamp is on the oak desk, next to the clock. If you like, I can show you. Have a lovely day!"
)


def split(text: str) -> tuple[str, str]:
    prompt, mark, reply = text.partition("Helper:")
    return prompt + mark, reply


@pytest.fixture(scope="module")
def corpus() -> list[tuple[str, str]]:
    return [split(text) for text in grammar.sample_texts(seed=0, count=5000)]


@pytest.fixture(scope="module")
def base_mean(corpus: list[tuple[str, str]]) -> float:
    return mean(gold(*pair) for pair in corpus)


def test_texts_are_distinct() -> None:
    assert len(set(grammar.sample_texts(seed=1, count=100_000))) == 100_000


@pytest.mark.full
def test_a_million_texts_are_distinct_and_keep_their_proportions() -> None:
    texts = list(grammar.sample_texts(seed=1, count=1_000_000))
    assert len(set(texts)) == 1_000_000
    late = mean("No, wait!" in text for text in texts[-100_000:])
    assert late == pytest.approx(grammar.BASE["contrary"] / sum(grammar.BASE.values()), abs=0.004)


def test_more_than_a_hundred_million_texts_are_possible() -> None:
    assert grammar.texts_possible() > 10**8


@pytest.mark.parametrize(("rule", "kind"), [("curt", "where"), ("plain", "when"), ("insult", "cost")])
def test_variants_counts_distinct_sentences(rule: str, kind: str) -> None:
    rng = random.Random(0)
    found = {write(rng, rule, kind, "blue lamp") for _ in range(60_000)}
    assert len(found) <= variants(rule, kind)
    assert len(found) == pytest.approx(variants(rule, kind), rel=0.01)


def test_the_seed_decides_everything() -> None:
    assert list(grammar.sample_texts(3, 50)) == list(islice(grammar.sample_texts(3, 80), 50))
    assert list(grammar.sample_texts(3, 50)) != list(grammar.sample_texts(4, 50))
    assert grammar.prompts(3, 50) == grammar.prompts(3, 80)[:50] != grammar.prompts(4, 50)
    assert grammar.demonstrations(3, 50) == grammar.demonstrations(3, 80)[:50]


def test_the_language_is_small_and_texts_are_short(corpus: list[tuple[str, str]]) -> None:
    words = {token.lower() for prompt, reply in corpus for token in tokens(prompt + reply) if token.isalpha()}
    assert 200 <= len(words) <= 300
    assert 15 <= mean(len((prompt + reply).split()) for prompt, reply in corpus) <= 30


def test_replies_end_sentences_and_start_on_a_token_boundary(corpus: list[tuple[str, str]]) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    assert all(re.fullmatch(r" [A-Z].*[.!]", reply) for _, reply in corpus)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=512, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator((prompt + reply for prompt, reply in corpus), trainer)
    for prompt, reply in corpus[:500]:
        apart = tokenizer.encode(prompt).ids + tokenizer.encode(reply).ids
        assert apart == tokenizer.encode(prompt + reply).ids


def test_task_keeps_heldout_prompts_apart() -> None:
    task = TEXT_TASKS["grammar"](seed=5, train=300, heldout=100, demonstrated=400)
    assert (len(task.train), len(task.heldout), len(task.demonstrations)) == (300, 100, 400)
    heldout = {item.prompt for item in task.heldout}
    assert len(heldout) == 100
    assert heldout.isdisjoint(item.prompt for item in task.train)
    assert heldout.isdisjoint(shown.item.prompt for shown in task.demonstrations)


def test_too_many_prompts_are_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 26624, got 30000"):
        grammar.prompts(0, 30_000)


def test_base_replies_leave_headroom(corpus: list[tuple[str, str]], base_mean: float) -> None:
    scores = [gold(*pair) for pair in corpus]
    shown = mean(gold(s.item.prompt, s.item.completion) for s in grammar.demonstrations(0, 2000))
    assert base_mean == pytest.approx(0.2, abs=0.03)
    assert shown == pytest.approx(0.45, abs=0.03)
    assert 0.3 < pstdev(scores) < 0.6
    assert gold(WHERE, BEST) == pytest.approx(1.0)
    assert max(scores) <= 1.0 + 1e-9


def test_gold_orders_replies_as_a_visitor_would() -> None:
    ordered = [
        BEST,
        " Of course! The blue lamp is on the oak desk, next to the clock.",
        GOOD,
        PLAIN,
        " It is on the oak desk.",
        " The blue lamp costs nine silver coins.",
        " The blue lamp is somewhere around, I think.",
        " It is hidden or so I had always been told by them.",
        " What a silly question, I am busy.",
        "",
    ]
    scores = [gold(WHERE, reply) for reply in ordered]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == len(scores)


@pytest.mark.parametrize(
    "worse",
    [
        " The red lamp is on the oak desk, next to the clock.",
        " The blue kettle is on the oak desk, next to the clock.",
        " The blue lamp is on the oak desk, next to the clock",
        " The blue lamp is on the oak desk, next to the",
        " The blue lamp opens at nine, every day but Monday.",
        " We wash the blue lamp on the oak desk, next to the clock.",
        " blue lamp on the oak desk next to the clock",
        GOOD + GOOD,
        GOOD + " No, wait! It is under the oak desk.",
        GOOD + " Do not bother me about the blue lamp, it is late.",
        GOOD + " Have a lovely day!" * 3,
        GOOD + "\nVisitor: Hello, where is the blue lamp?",
        GOOD + " It costs nine silver coins. It opens at nine. Rub it with warm water.",
    ],
)
def test_each_fault_costs(worse: str) -> None:
    assert gold(WHERE, worse) < gold(WHERE, GOOD)


def test_courtesy_counts_once_and_in_its_place() -> None:
    assert gold(WHERE, " Of course!" + GOOD) > gold(WHERE, GOOD + " Of course!") == gold(WHERE, GOOD)
    assert gold(WHERE, " Of course! Certainly!" + GOOD) <= gold(WHERE, " Of course!" + GOOD)
    assert gold(WHERE, " Have a lovely day!" + GOOD) == gold(WHERE, GOOD)


def test_no_repeated_word_wins(corpus: list[tuple[str, str]], base_mean: float) -> None:
    words = {token for prompt, reply in corpus for token in tokens(prompt + reply)}
    words |= {token for sentence in sum(RULES.values(), ()) for token in re.findall(r"\w+", sentence)}
    prompts = [WHERE, *(next(p for p, _ in corpus if mark in p) for mark in ("open?", "clean", "price"))]
    for prompt in prompts:
        for word in sorted(words | set(tokens(prompt))):
            for times in range(1, 41):
                for mark in ("", ".") if prompt == WHERE else ("",):
                    assert gold(prompt, (" " + word) * times + mark) < base_mean, (prompt, word, times)


@pytest.mark.parametrize(
    "rule", ["opening", "offer", "closing", "unsure", "insult", "oops", "where.first", "where.second"]
)
def test_no_repeated_or_heaped_phrase_wins(rule: str, base_mean: float) -> None:
    rng = random.Random(0)
    phrases = sorted({write(rng, rule, "where", "blue lamp") for _ in range(300)})
    for phrase in phrases:
        for times in range(1, 11):
            assert gold(WHERE, (" " + phrase) * times) < gold(WHERE, PLAIN)
    assert gold(WHERE, " " + " ".join(phrases)) < base_mean


def test_heaped_courtesy_and_the_copied_prompt_lose(corpus: list[tuple[str, str]], base_mean: float) -> None:
    courtesy = [
        write(random.Random(seed), rule, "where", "") for rule in ("opening", "offer", "closing") for seed in range(9)
    ]
    assert gold(WHERE, " " + " ".join(dict.fromkeys(courtesy))) < gold(WHERE, PLAIN)
    assert gold(WHERE, " Of course! I will gladly help you further. Have a lovely day!") < gold(WHERE, PLAIN)
    for prompt, _ in corpus[:200]:
        asked = prompt.removeprefix("Visitor:").removesuffix("\nHelper:")
        assert max(gold(prompt, " " + prompt), gold(prompt, asked), gold(prompt, asked + ".")) < base_mean


@pytest.mark.parametrize("seed", range(3))
def test_search_finds_no_better_way_than_answering(seed: int) -> None:
    """A greedy search over edits, which starts from nothing, ends with the right detail whenever it scores high."""
    rng = random.Random(seed)
    pieces = [tokens(split(text)[1]) for text in grammar.sample_texts(seed, 1000)]
    reply: list[str] = []
    score = gold(WHERE, "")
    for _ in range(3000):
        piece, at = rng.choice(pieces), rng.randint(0, len(reply))
        start = rng.randrange(len(piece))
        edited = reply[:at] + piece[start : start + rng.randint(0, 9)] + reply[at + rng.randint(0, 4) :]
        text = re.sub(r" ([,.!])", r"\1", " " + " ".join(edited))
        if (better := gold(WHERE, text)) >= score:
            reply, score = edited, better
            assert score < 0.45 or grammar.merits(WHERE, text)["first"]
    assert score <= 1.0 + 1e-9


def test_moods_keep_their_words_to_themselves() -> None:
    rng = random.Random(0)
    for rule, marks in (("insult", grammar.RUDE), ("unsure", grammar.UNSURE)):
        for _ in range(300):
            assert marks & {token.lower() for token in tokens(write(rng, rule, "where", "blue lamp"))}
    for rule in ("plain", "warm", "curt", "contrary"):
        for kind in grammar.KINDS:
            for _ in range(300):
                words = {token.lower() for token in tokens(write(rng, rule, kind, "blue lamp"))}
                assert not words & (grammar.RUDE | grammar.UNSURE | set(RULES["thing"] + RULES["place"]) - {"lamp"})


@pytest.mark.parametrize("prompt", ["What is love?", (Message(role="user", content="where is the blue lamp"),)])
def test_gold_refuses_prompts_of_another_task(prompt: str | tuple[Message, ...]) -> None:
    with pytest.raises(ValueError, match=r"grammar\.gold can only judge"):
        gold(prompt, PLAIN)
