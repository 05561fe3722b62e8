"""Every check of a model finds the fault that was planted in a tiny one, and nothing in a good one."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from commands.workshop import CONTEXT, WORDS, tokenizer, write_model
from tercih.doctor import memory
from tercih.doctor.examine import MODEL_CHECKS, examine
from tercih.doctor.inspection import Finding, Inspection
from tercih.doctor.patient import Patient
from tercih.records import Demonstration, Message, Text

LETTERS = "abcdefgh"


def shown(prompt: Any = "what is", completion: Any = " good", count: int = 1) -> list[Demonstration]:
    return [Demonstration(item=Text(prompt=f"{prompt} {x}", completion=completion)) for x in LETTERS[:count]]


def look(model: Path, records: Sequence[object] = (), **changes: Any) -> dict[str, Finding]:
    case = Inspection(model=model, records=[*records], **{"max_new_tokens": 32, **changes})
    return {finding.title: finding for finding in examine(case)}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("good"))


def test_a_good_model(good: Path) -> None:
    findings = look(good, shown(count=8))
    assert set(MODEL_CHECKS) <= set(findings)
    assert {finding.level for finding in findings.values()} == {"ok"}


def test_a_model_alone(good: Path) -> None:
    findings = look(good)
    assert {"vocabulary", "engine = trainer", "answers end", "memory"} <= set(findings)
    assert "context" not in findings


@pytest.mark.parametrize(
    ("special", "said"), [({"eos_token": None}, "no EOS token"), (None, "there is no model folder")]
)
def test_a_model_that_cannot_be_used(tmp_path: Path, special: dict[str, None] | None, said: str) -> None:
    model = tmp_path / "model" if special is None else write_model(tmp_path, **special)
    findings = list(look(model, shown()).values())
    assert (findings[0].title, findings[0].level) == ("model", "error")
    assert said in findings[0].detail
    assert {finding.title for finding in findings} >= {"empty answers", "duplicates"}


def test_vocabulary(tmp_path: Path) -> None:
    findings = look(write_model(tmp_path, vocabulary=len(WORDS) - 1), shown("no", "no"))
    assert findings["vocabulary"].level == "error"
    assert f"up to {len(WORDS) - 1}, the model knows {len(WORDS) - 1}" in findings["vocabulary"].detail


def test_chat_templates(good: Path, tmp_path: Path) -> None:
    talk = [Demonstration(item=Text(prompt=(Message(role="user", content="what"),), completion=" good"))]
    findings = look(good, talk)
    assert findings["chat template"].level == "error"
    assert "tokenisation" not in {f.title for f in findings.values() if f.level == "error"}
    chat = write_model(tmp_path, chat=True)
    assert look(chat, talk)["chat template"].level == "ok"
    assert look(chat, shown())["chat template"].level == "warning"
    assert look(chat, shown("user what is"))["chat template"].level == "ok"


def test_unknown_tokens(good: Path) -> None:
    finding = look(good, [*shown(), *shown("strange words")])["tokenisation"]
    assert finding.level == "warning"
    assert "1 of 2 answers or their prompts hold ?" in finding.detail


def test_what_cannot_be_tokenised(tmp_path: Path) -> None:
    finding = look(write_model(tmp_path, bos_token=None), [Demonstration(item=Text(prompt="", completion="a"))])
    assert finding["tokenisation"].level == "error"
    assert "no BOS token" in finding["tokenisation"].detail


def test_context(good: Path) -> None:
    finding = look(good, [*shown(), *shown("a " * CONTEXT)])["context"]
    assert (finding.level, "1 of 2 prompts with their answers exceed" in finding.detail) == ("error", True)
    finding = look(good, shown("a " * 40))["context"]
    assert (finding.level, "lower --max-new-tokens to 22" in finding.mend) == ("warning", True)
    finding = look(good, [Text(prompt="a " * 41, completion="")])["context"]
    assert (finding.level, "lower --max-new-tokens to 22" in finding.mend) == ("error", True)


def test_answers_that_never_end(tmp_path: Path) -> None:
    causal = AutoModelForCausalLM.from_pretrained(write_model(tmp_path))
    with torch.no_grad():
        causal.lm_head.weight.zero_()
        causal.lm_head.weight[WORDS.index("a")] = 50 * causal.model.norm.weight.sign()
        causal.model.embed_tokens.weight.fill_(1)
    causal.save_pretrained(tmp_path)
    finding = look(tmp_path, shown(count=8), max_new_tokens=8)["answers end"]
    assert finding.level == "warning"
    assert "none of 8 sampled answers says </s> (EOS) within 8 tokens" in finding.detail


def test_many_answers_are_cut(good: Path) -> None:
    finding = look(good, shown(count=8), max_new_tokens=4)["answers end"]
    assert finding.level == "warning"
    assert "sampled answers are cut at 4 tokens" in finding.detail


def test_end_tokens(good: Path, tmp_path: Path) -> None:
    assert "there is no pad token, which is harmless here" in look(good)["EOS and pad"].detail
    assert "pad is EOS, which is harmless" in look(write_model(tmp_path / "m", pad_token="</s>"))["EOS and pad"].detail
    generation = json.loads((tmp_path / "m" / "generation_config.json").read_text())
    (tmp_path / "m" / "generation_config.json").write_text(json.dumps(generation | {"eos_token_id": [1, 5]}))
    finding = look(tmp_path / "m")["EOS and pad"]
    assert finding.level == "warning"
    assert f"['{WORDS[5]}']" in finding.detail


def test_end_in_the_text(good: Path) -> None:
    assert look(good, shown(completion=" good </s>"))["EOS in the text"].level == "warning"


def test_boundary(tmp_path: Path) -> None:
    write_model(tmp_path)
    merged = shown("what i")
    merging = [Demonstration(item=Text(prompt="what i", completion="s good"))]
    assert look(tmp_path, merged)["prompt | answer"].level == "ok"
    finding = look(tmp_path, merging)["prompt | answer"]
    assert (finding.level, "apart in 1 of 1 rows" in finding.detail) == ("warning", True)


@pytest.mark.parametrize(("dtype", "level"), [(torch.bfloat16, "ok"), (torch.float16, "warning")])
def test_precision(good: Path, tmp_path: Path, dtype: torch.dtype, level: str) -> None:
    AutoModelForCausalLM.from_pretrained(good).to(dtype).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    findings = look(tmp_path, shown(count=4))
    assert findings["precision"].level == level
    assert findings["engine = trainer"].level == "ok"


def test_the_engine_is_held_against_the_trainer(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Patient.__init__

    def warmer(self: Patient, case: Inspection) -> None:
        forward(self, case)
        head = self.policy.head
        monkeypatch.setattr(type(self.policy), "head", property(lambda _: lambda hidden: head(hidden) * 1.01))

    monkeypatch.setattr(Patient, "__init__", warmer)
    finding = look(good, shown(count=4))["engine = trainer"]
    assert (finding.level, "bound 1e-04" in finding.detail) == ("error", True)


def test_weights_that_are_not_finite(tmp_path: Path) -> None:
    causal = AutoModelForCausalLM.from_pretrained(write_model(tmp_path))
    with torch.no_grad():
        causal.lm_head.weight[3] = torch.nan
    causal.save_pretrained(tmp_path)
    finding = look(tmp_path, shown())["model"]
    assert (finding.level, finding.mend) == ("error", "fetch it again")
    assert "NaN" in finding.detail


def test_memory(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda _: 10_000)
    finding = look(good, shown())["memory"]
    assert (finding.level, "--lora 16" in finding.mend) == ("error", True)
    parts = memory.estimate(Patient(Inspection(model=good, records=shown(), rows=4)))
    twice = memory.estimate(Patient(Inspection(model=good, records=shown(), rows=8)))
    assert parts["Adam"] == 2 * parts["weights"]
    assert twice["activations"] == 2 * parts["activations"]


def test_activations_grow_with_length(good: Path) -> None:
    causal = AutoModelForCausalLM.from_pretrained(good)
    short, long = (memory.activations(causal, length) for length in (16, 32))
    assert 1.8 < long / short < 4.2
    assert short > 16 * causal.config.hidden_size * causal.config.num_hidden_layers * 4
