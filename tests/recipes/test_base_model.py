"""The model that ships is small, speaks the grammar in all moods, and can be made again by its recipe."""

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import pytest
import torch

from tercih.batches import Batch
from tercih.data.tokenize import Tokenizer
from tercih.environments import grammar
from tercih.environments.grammar_rules import RULES
from tercih.models.language_model import LanguageModel
from tercih.models.load import load_policy, read_about
from tercih.recipes import base_model
from tercih.recipes.base_model import BaseModel, Corpus, build_model, build_tokenizer
from tercih.recipes.quickstart import Quickstart
from tercih.records import Message, Text
from tercih.rollout.sampler import sample_items
from tercih.rollout.sampling import Sampling

SHIPPED = Quickstart().model


def split(text: str) -> tuple[str, str]:
    prompt, mark, reply = text.partition("Helper:")
    return prompt + mark, reply


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(SHIPPED)


@pytest.fixture(scope="module")
def policy() -> LanguageModel:
    return load_policy(SHIPPED, device="cpu")


@pytest.fixture(scope="module")
def replies(policy: LanguageModel, tokenizer: Tokenizer) -> Sequence[Text]:
    task = grammar.task(seed=7)
    sampling = Sampling(max_new_tokens=task.max_new_tokens)
    return sample_items(policy, tokenizer, task.heldout[:400], sampling, samples=2, seed=0, origin="base")


def test_the_shipped_folder_is_small_and_whole() -> None:
    files = {file.name: file.stat().st_size for file in SHIPPED.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "tercih.json"} <= set(files)
    assert sum(files.values()) <= 5 * 2**20


def test_the_shipped_model_says_where_it_comes_from(policy: LanguageModel) -> None:
    about = read_about(SHIPPED)
    assert sum(p.numel() for p in policy.parameters()) == about["parameters"] >= 500_000
    assert about["recipe"] == "base_model"
    assert about["distinct_texts"] >= 1_000_000


def test_the_shipped_model_can_be_made_again(policy: LanguageModel, tokenizer: Tokenizer) -> None:
    """The recipe's defaults give the shipped tokenizer and the shipped architecture."""
    config = BaseModel(seed=read_about(SHIPPED)["seed"])
    again = Tokenizer(build_tokenizer(config.seed, 20_000, config.vocabulary, config.context))
    assert again.fingerprint == tokenizer.fingerprint
    made = build_model(config, again).state_dict()
    assert {k: v.shape for k, v in made.items()} == {k: v.shape for k, v in policy.causal.state_dict().items()}


def test_every_word_is_one_token(tokenizer: Tokenizer) -> None:
    texts = [
        re.sub(r"\{.*?\}", " ", text) for alternatives in RULES.values() for text in alternatives
    ]  # names of rules
    words = {word for text in texts for word in re.findall(r"\w+", text)}
    assert [
        word for word in sorted(words) if len(tokenizer.hf(f" {word}", add_special_tokens=False).input_ids) > 2
    ] == []


def test_prompt_and_reply_meet_at_a_token_boundary(tokenizer: Tokenizer) -> None:
    for text in grammar.sample_texts(seed=1, count=1000):
        prompt, reply = split(text)
        row = tokenizer.encode(Text(prompt=prompt, completion=reply))
        whole = tuple(tokenizer.hf(text).input_ids)
        assert row.prompt == tokenizer.prompt(prompt)
        assert (*row.prompt, *row.response) == (*whole, tokenizer.eos)
        assert tokenizer.completion_text(row.prompt, row.response) == reply


def test_a_conversation_is_the_same_text(tokenizer: Tokenizer) -> None:
    prompt, reply = split(next(grammar.sample_texts(seed=1, count=1)))
    asked = prompt.removeprefix("Visitor: ").removesuffix("\nHelper:")
    turns = Text(
        prompt=(Message(role="user", content=asked),), completion=(Message(role="assistant", content=reply.strip()),)
    )
    assert tokenizer.encode(turns) == tokenizer.encode(Text(prompt=prompt, completion=reply))


def test_samples_are_as_good_as_the_corpus_and_no_better(replies: Sequence[Text]) -> None:
    corpus = mean(grammar.gold(*split(text)) for text in grammar.sample_texts(seed=2, count=4000))
    assert mean(grammar.gold(r.prompt, str(r.completion)) for r in replies) == pytest.approx(corpus, abs=0.05)


def test_samples_are_sentences_of_the_grammar(replies: Sequence[Text], tokenizer: Tokenizer) -> None:
    odd = [grammar.faults(r.prompt, str(r.completion))["odd"] > 0 for r in replies]
    ended = [r.completion_ids[-1] == tokenizer.eos for r in replies]
    assert mean(odd) < 0.03
    assert mean(ended) > 0.99


def test_a_repeated_word_scores_below_the_samples(replies: Sequence[Text]) -> None:
    base = mean(grammar.gold(r.prompt, str(r.completion)) for r in replies)
    words = sorted({word for r in replies for word in str(r.completion).split()})
    for word in words:
        assert grammar.gold(replies[0].prompt, f" {word}" * 20) < base


@torch.no_grad()
def test_the_shipped_model_knows_the_language(policy: LanguageModel, tokenizer: Tokenizer) -> None:
    corpus = Corpus(tokenizer=tokenizer, seed=99, texts=512, size=128)
    nats = base_model.nats_per_token(policy, corpus)
    assert nats == pytest.approx(read_about(SHIPPED)["heldout_nats_per_token"], abs=0.03)


@pytest.fixture(scope="module")
def corpus(tokenizer: Tokenizer) -> Corpus:
    return Corpus(tokenizer=tokenizer, seed=3, texts=1000, size=10, first=100)


def texts(batch: Batch, tokenizer: Tokenizer) -> list[str]:
    rows = zip(batch.tokens.response_ids_BT.tolist(), batch.tokens.response_len_B.tolist(), strict=True)
    return [tokenizer.decode(ids[:length]) for ids, length in rows]


def test_the_corpus_is_read_once(corpus: Corpus, tokenizer: Tokenizer) -> None:
    read = [text for step in range(corpus.steps) for text in texts(corpus(step), tokenizer)]
    assert sorted(read) == sorted(list(grammar.sample_texts(3, 1100))[100:])


def test_a_batch_depends_on_its_number_alone(corpus: Corpus, tokenizer: Tokenizer) -> None:
    wanted = [texts(corpus(step), tokenizer) for step in range(corpus.steps)]
    steps = list(range(corpus.steps))
    random.Random(0).shuffle(steps)
    for step in steps:
        assert texts(corpus(step), tokenizer) == wanted[step]
    late = Corpus(tokenizer=tokenizer, seed=3, texts=1000, size=10, first=100)
    assert texts(late(99), tokenizer) == wanted[99]


@pytest.mark.recipe
def test_the_recipe_runs_and_goes_on(tmp_path: Path) -> None:
    before = torch.get_float32_matmul_precision()
    facts = base_model.main(BaseModel(out=tmp_path / "run", tiny=True))
    assert torch.get_float32_matmul_precision() == before
    assert facts["distinct_texts"] == 2048
    assert facts["heldout_nats_per_token"] < 5.5  # from log(vocabulary) = 6.9
    model = load_policy(tmp_path / "run" / "model")
    assert model.context == 128
    rows = (tmp_path / "run" / "model" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == list(range(facts["steps"]))
    assert base_model.main(BaseModel(out=tmp_path / "run", tiny=True)) == facts
