"""The recipes on Anthropic's pairs, on harmless rows of both forms written here; the real files where there are any."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tercih.data import collate
from tercih.data.tokenize import Tokenizer
from tercih.models.load import load_causal, load_reward_model
from tercih.recipes import hh_dpo, hh_pairs, hh_reward
from tercih.recipes.hh_pairs import HHData, HHSettings
from tercih.recipes.scratch import ScratchModel, make_model, make_tokenizer
from tercih.records import Comparison, Message, Text
from tercih.run import read_json
from tercih.sources.rows import SourceError

SIZE = ScratchModel(vocabulary=300, hidden=16, layers=1, heads=2, context=256)
THINGS = ["bread", "tea", "soup", "a kite", "a chair", "a song", "rice", "a map", "a hat", "a cake"]


def dialogues(i: int) -> tuple[str, str]:
    """A polite and a curt answer; every third dialogue has an earlier turn."""
    thing = THINGS[i % len(THINGS)]
    before = f"\n\nHuman: Hello number {i}.\n\nAssistant: Hello!" if i % 3 == 0 else ""
    start = f"{before}\n\nHuman: How do I make {thing} ({i})?\n\nAssistant:"
    return f"{start} Gladly: take your time with {thing}, and ask again.", f"{start} No."


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, ...]:
    """Both forms; row 3 of the first has an answer without words."""
    helpful, harmless = tmp_path / "helpful-base.test.json", tmp_path / "harmless-base.test.jsonl.gz"
    pairs = [dialogues(i) for i in range(40)]
    listed = [{"text": [b, a], "score": [0.0, 1.0]} if i % 2 else {"text": [a, b], "score": [1.0, 0.0]}
              for i, (a, b) in enumerate(pairs)]  # fmt: skip
    listed[2]["text"][0] = listed[2]["text"][0].split("Gladly")[0]
    helpful.write_text(json.dumps(listed))
    rows = [{"chosen": b, "rejected": a} for a, b in (dialogues(i) for i in range(40, 80))]
    harmless.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return harmless, helpful


def test_sides_come_in_random_order_and_bad_rows_are_counted(files: tuple[Path, ...], caplog: Any) -> None:
    records = hh_pairs.read_pairs(files, seed=0)
    assert len(records) == 79
    assert "left out 1 of 40 rows" in caplog.text
    first = [record.answer == "a" for record in records]
    assert 20 < sum(first) < 60
    longer = [
        hh_pairs.letters(hh_pairs.winner(r).completion)
        == max(hh_pairs.letters(r.a.completion), hh_pairs.letters(r.b.completion))
        for r in records
    ]
    assert longer == [r.a.columns["file"].startswith("helpful") for r in records]
    assert records == hh_pairs.read_pairs(files, seed=0)


def test_no_conversation_is_on_both_sides_of_the_split() -> None:
    def record(opening: int, turn: int) -> Comparison:
        prompt = (Message(role="user", content=f"o{opening}"),) * (turn + 1)
        sides = [Text(prompt=prompt, completion=(Message(role="assistant", content=c),)) for c in "xy"]
        return Comparison(a=sides[0], b=sides[1], answer="a", rater="r")

    records = [record(opening, turn) for opening in range(10) for turn in range(5)]
    train, heldout = hh_pairs.split(records, heldout=7, seed=0)
    assert len(train) + len(heldout) == 50
    assert len(heldout) == 10  # 7 rounded up to whole conversations
    assert not {r.a.prompt[0] for r in train} & {r.a.prompt[0] for r in heldout}
    with pytest.raises(SourceError, match="cannot be split"):
        hh_pairs.split(records[:5], heldout=1, seed=0)


def test_template_renders_the_original_form_with_the_answers_alone_learned() -> None:
    tokenizer = Tokenizer(make_tokenizer(["How are you? Fine. Thanks"] * 9, SIZE, hh_pairs.TEMPLATE))
    said = [("user", "How are you?"), ("assistant", "Fine. Thanks"), ("user", "And now?"), ("assistant", "Fine.")]
    turns = tuple(Message(role=role, content=content) for role, content in said)
    row = tokenizer.encode(Text(prompt=turns[:1], completion=turns[1:]))
    assert tokenizer.hf.decode(row.prompt) == "\n\nHuman: How are you?\n\nAssistant:"
    assert tokenizer.hf.decode(row.response) == (
        " Fine. Thanks<|endoftext|>\n\nHuman: And now?\n\nAssistant: Fine.<|endoftext|>"
    )
    learned = [token for token, learn in zip(row.response, row.learn, strict=True) if learn]
    assert tokenizer.hf.decode(learned) == " Fine. Thanks<|endoftext|> Fine.<|endoftext|>"
    assert tokenizer.prompt(turns[:3]) == row.prompt + row.response[: len(row.response) - 3]


def test_template_suits_tokenizers_that_join_a_stop_with_the_break_after_it() -> None:
    """As those of Llama 3 and Qwen do."""
    bpe = tokenizers.Tokenizer(models.BPE())
    pattern = tokenizers.Regex(r" ?\p{L}+| ?[^\s\p{L}]+[\r\n]*|\s*[\r\n]+|\s+")
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(pattern, "isolated"), bytes_only])
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<e>"], initial_alphabet=alphabet)
    bpe.train_from_iterator(["Fine.\n\nAssistant: ok.\n\nHuman: x."] * 9, trainer)
    hf = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<e>", chat_template=hh_pairs.TEMPLATE)
    assert len(hf(".\n\n").input_ids) == 1
    said = [Message(role=role, content="ok.") for role in ("user", "assistant", "user", "assistant")]
    row = Tokenizer(hf).encode(Text(prompt=tuple(said[:1]), completion=tuple(said[1:])))
    assert hf.decode(row.prompt) == "\n\nHuman: ok.\n\nAssistant:"
    assert hf.decode(row.response) == " ok.<e>\n\nHuman: ok.\n\nAssistant: ok.<e>"
    assert hf.decode([t for t, learn in zip(row.response, row.learn, strict=True) if learn]) == " ok.<e> ok.<e>"


def test_a_tokenizer_with_a_template_keeps_it() -> None:
    tokenizer = Tokenizer(make_tokenizer(["x"], SIZE, "{{ messages[0].content }}"))
    assert hh_pairs.with_template(tokenizer) is tokenizer
    assert hh_pairs.with_template(Tokenizer(make_tokenizer(["x"], SIZE))).hf.chat_template == hh_pairs.TEMPLATE


def test_judge_fits_the_length_rule_to_each_file(files: tuple[Path, ...]) -> None:
    """One file likes long answers, the other short ones: one rule for both would be right half the time."""
    records = hh_pairs.read_pairs(files, seed=0)
    train, heldout = hh_pairs.split(records, heldout=15, seed=0)
    data = HHData(base="", tokenizer=None, context=0, train=train, heldout=heldout)  # type: ignore[arg-type]
    right = np.array([1.0 if r.answer == "a" else -1.0 for r in heldout])
    groups = hh_pairs.judge(right, data)["groups"]
    assert set(groups) == {"all", *(path.name for path in files)}
    assert all(
        row["accuracy"]["value"] == row["length_baseline"]["value"] == row["by_length"] for row in groups.values()
    )
    wrong = hh_pairs.judge(-right, data)["groups"]["all"]
    assert (wrong["accuracy"]["value"], wrong["length_baseline"]["value"], wrong["by_length"]) == (0, 1, 0)


def test_shuffled_labels_say_nothing(files: tuple[Path, ...]) -> None:
    records = hh_pairs.read_pairs(files, seed=0) * 20
    changed = [a.answer != b.answer for a, b in zip(records, hh_pairs.shuffled(records, seed=0), strict=True)]
    assert 0.45 < np.mean(changed) < 0.55


def test_learning_rate_suits_what_is_trained() -> None:
    rates = [
        hh_pairs.learning_rate(settings, scratch=1.0, whole=2.0, adapter=3.0)
        for settings in (HHSettings(), HHSettings(model="m"), HHSettings(model="m", lora=4))
    ]
    assert rates == [1, 2, 3]


@pytest.mark.parametrize("other", [{"model": "m"}, {"tiny": True}])
def test_a_size_without_effect_is_refused(other: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="--scratch has no effect with --"):
        HHSettings(scratch=SIZE, **other)


def test_no_files_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="--data"):
        hh_reward.main(hh_reward.HHReward(data=(), out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def small(files: tuple[Path, ...], out: Path, **changes: Any) -> hh_reward.HHReward:
    """Long enough to learn what each file likes, in seconds."""
    return hh_reward.HHReward(
        data=files, out=out, epochs=8, pairs_per_step=8, lr=1e-2, max_tokens=200, **({"scratch": SIZE} | changes)
    )


@pytest.mark.recipe
def test_hh_reward_learns_and_goes_on_where_it_was(files: tuple[Path, ...], tmp_path: Path) -> None:
    config = small(files[1:], tmp_path / "run")
    summary = hh_reward.main(config)
    assert summary["reward_model"]["accuracy"]["value"] == 1
    assert summary["reward_model"]["length_baseline"]["value"] == 1
    assert summary["notes"] == [hh_pairs.CAVEAT, hh_pairs.TEST_SPLIT]
    assert summary["pairs"] == {"train": 32, "heldout": 7}
    assert (config.out / "report.html").exists()
    assert load_reward_model(config.out / "reward_model").readout == "mean"
    before = (config.out / "reward_model" / "metrics.jsonl").read_text()
    assert hh_reward.main(config)["reward_model"] == summary["reward_model"]
    assert (config.out / "reward_model" / "metrics.jsonl").read_text() == before


@pytest.mark.recipe
def test_control_trains_on_coins_and_judges_by_the_truth(files: tuple[Path, ...], tmp_path: Path) -> None:
    config = small(files[1:], tmp_path / "run", control="shuffled-labels")
    summary = hh_reward.main(config)
    truth = _train(config)
    coins = hh_pairs.shuffled(truth, config.seed)
    assert 8 < sum(a.answer == b.answer for a, b in zip(truth, coins, strict=True)) < 24
    last = json.loads((config.out / "reward_model" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["loss"] > 0.5  # there is nothing but noise to learn
    assert summary["pairs"]["heldout"] == 7
    assert read_json(config.out / "run.json")["control"] == "shuffled-labels"


def _train(config: hh_reward.HHReward) -> list[Comparison]:
    return hh_pairs.split(hh_pairs.read(config), config.heldout, config.seed)[0]


@pytest.mark.recipe
@pytest.mark.parametrize("rank", [0, 2])
def test_hh_dpo_prefers_the_chosen(files: tuple[Path, ...], tmp_path: Path, rank: int) -> None:
    config = hh_dpo.HHDPO(
        data=files[1:], out=tmp_path / "run", scratch=SIZE, pairs_per_step=8, max_tokens=200,
        sft_epochs=2, epochs=4, sft_lr=1e-2, lr=1e-2, lora=rank,
    )  # fmt: skip
    summary = hh_dpo.main(config)
    assert summary["reward_model"]["accuracy"]["value"] > 0.9
    assert summary["chosen_log_ratio"]["value"] > summary["rejected_log_ratio"]["value"]
    assert summary["reference_accuracy"]["n"] == summary["pairs"]["heldout"] == 7
    load_causal(config.out / "dpo")


@pytest.mark.recipe
def test_a_model_of_ones_own(files: tuple[Path, ...], tmp_path: Path) -> None:
    """A folder with a model and a tokenizer without a template; its context decides what is left out."""
    texts = [m.content for r in hh_pairs.read_pairs(files, 0) for m in (*r.a.prompt, *r.a.completion)]
    make_model(tmp_path / "model", texts, replace(SIZE, context=72), seed=0)
    model = str(tmp_path / "model")
    config = hh_reward.HHReward(data=files, out=tmp_path / "run", model=model, max_tokens=200, lora=2)
    summary = hh_reward.main(config)
    assert summary["notes"] == [hh_pairs.TEST_SPLIT]
    assert sum(summary["pairs"].values()) < 79
    tokenizer = hh_pairs.with_template(Tokenizer.load(config.out / "reward_model"))
    fits = [collate.encode(side, tokenizer, 10_000) for r in _train(config) for side in (r.a, r.b)]
    assert max(len(row.prompt) + len(row.response) for row in fits) > 72


@pytest.mark.recipe
@pytest.mark.data
def test_real_files(data_dir: Path, tmp_path: Path) -> None:
    data = tuple(sorted((data_dir / "preferences" / "hh-rlhf").glob("*.json*")))
    reward = hh_reward.main(hh_reward.HHReward(data=data, out=tmp_path / "reward", tiny=True))
    dpo = hh_dpo.main(hh_dpo.HHDPO(data=data, out=tmp_path / "dpo", tiny=True))
    for summary in (reward, dpo):
        assert sum(summary["pairs"].values()) <= hh_pairs.TINY_PAIRS
        for row in summary["groups"].values():
            assert row["accuracy"]["low"] <= row["accuracy"]["value"] <= row["accuracy"]["high"]
            assert row["length_baseline"]["n"] == row["accuracy"]["n"]
