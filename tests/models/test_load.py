import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from small import byte_pairs as make_tokenizer
from small import causal, random_tokens
from tercih.forward import Want
from tercih.models.language_model import LanguageModel, Reference
from tercih.models.load import (
    ABOUT,
    HEADS,
    LoRA,
    ModelError,
    add_lora,
    check_head,
    from_config,
    load_causal,
    load_policy,
    load_reward_model,
    merge_lora,
    read_about,
    save_model,
)
from tercih.models.reward_model import RewardModel

TOKENIZER = make_tokenizer()
MADE = random_tokens([2, 1])


def disturb(model: torch.nn.Module, seed: int = 0) -> None:
    """As if it had been trained: everything trainable moves."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p += 0.05 * torch.randn(p.shape, generator=generator, dtype=p.dtype)


def policy(kind: str = "llama", **options: Any) -> LanguageModel:
    model = LanguageModel(causal(kind, dtype=torch.float32), **options)
    disturb(model)
    return model


def plain_logits(folder: Path) -> Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        logits: Tensor = model(input_ids=torch.arange(8)[None]).logits
    return logits


@pytest.mark.parametrize("kind", ["llama", "llama_tied", "gpt2", "gemma3"])
def test_a_policy_comes_back_bit_for_bit(tmp_path: Path, kind: str) -> None:
    model = policy(kind, temperature=0.7, value="shared")
    save_model(model, TOKENIZER, tmp_path, base="tiny", skipped=None)
    again = load_policy(tmp_path, value="shared")
    want = Want(entropy=True, value=True)
    for ours, theirs in ((again(MADE, want), model(MADE, want)),):
        assert torch.equal(ours.logp_BT, theirs.logp_BT)
        assert torch.equal(ours.value_BT, theirs.value_BT)
    assert again.temperature == 0.7
    assert read_about(tmp_path) == {"kind": "LanguageModel", "base": "tiny", "temperature": 0.7, "value": "shared"}
    with torch.no_grad():
        expected = model.causal.eval()(input_ids=torch.arange(8)[None]).logits
    assert torch.equal(plain_logits(tmp_path), expected), "any other tool loads it too"


def test_a_value_head_is_left_out_where_nobody_asks(tmp_path: Path) -> None:
    save_model(policy(value="shared"), TOKENIZER, tmp_path)
    assert load_policy(tmp_path).value_head is None


def test_a_policy_without_values_gets_fresh_ones(tmp_path: Path) -> None:
    save_model(policy(), TOKENIZER, tmp_path)
    assert (load_policy(tmp_path, value="shared")(MADE, Want(value=True)).value_BT == 0).all()


def test_a_separate_value_model_comes_back_with_its_trunk(tmp_path: Path) -> None:
    model = policy(value="separate")
    save_model(model, TOKENIZER, tmp_path)
    want = Want(value=True)
    assert torch.equal(load_policy(tmp_path, value="separate")(MADE, want).value_BT, model(MADE, want).value_BT)
    with pytest.raises(ModelError, match=r"saved with value='separate', but value='shared' was asked for"):
        load_policy(tmp_path, value="shared")


@pytest.mark.parametrize("readout", ["last", "mean"])
def test_a_reward_model_comes_back_bit_for_bit(tmp_path: Path, readout: str) -> None:
    model = RewardModel(causal(dtype=torch.float32), readout=readout, seed=5)
    disturb(model)
    model.normalise([random_tokens([4])])
    save_model(model, TOKENIZER, tmp_path)
    again = load_reward_model(tmp_path)
    assert torch.equal(again(MADE), model(MADE))
    assert again.readout == readout
    assert torch.equal(again.log_tie, model.log_tie)


@pytest.mark.parametrize("kind", ["llama", "llama_tied", "gpt2"])
def test_an_adapter_is_saved_merged_beside_itself(tmp_path: Path, kind: str) -> None:
    model = LanguageModel(causal(kind, dtype=torch.float32), value="shared")
    add_lora(model, LoRA(rank=2, alpha=4))
    disturb(model)
    reference = Reference(model)
    before, base = model(MADE, Want(value=True)), reference(MADE)
    save_model(model, TOKENIZER, tmp_path)
    after = model(MADE, Want(value=True))
    assert torch.equal(after.logp_BT, before.logp_BT), "saving changes nothing"
    assert torch.equal(reference(MADE), base), "not even in the last bit of the frozen weights"
    again = load_policy(tmp_path, value="shared")
    torch.testing.assert_close(again(MADE).logp_BT, before.logp_BT, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(again(MADE, Want(value=True)).value_BT, before.value_BT, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        theirs = plain_logits(tmp_path)
        ours = model.causal.eval()(input_ids=torch.arange(8)[None]).logits
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)
    assert not any("lora" in key for key in safetensors.torch.load_file(tmp_path / "model.safetensors"))
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()


@pytest.mark.parametrize("make", [lambda c: LanguageModel(c, value="shared"), RewardModel], ids=["policy", "reward"])
def test_only_the_adapter_and_the_heads_are_trained(make: Any) -> None:
    model = make(causal(dtype=torch.float32))
    add_lora(model, LoRA(rank=2))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained
    heads = {"value_head.weight", "value_head.bias", "score_head.weight", "score_head.bias", "log_tie"}
    assert all("lora_" in name or name in heads for name in trained)
    assert trained & heads
    layers = {name.split(".lora_")[0].rsplit(".", 1)[1] for name in trained if "lora_" in name}
    assert layers == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_a_reward_model_with_an_adapter_comes_back(tmp_path: Path) -> None:
    model = RewardModel(causal(dtype=torch.float32), seed=2)
    add_lora(model, LoRA(rank=2))
    disturb(model)
    save_model(model, TOKENIZER, tmp_path)
    torch.testing.assert_close(load_reward_model(tmp_path)(MADE), model(MADE), rtol=1e-5, atol=1e-5)


def test_merging_folds_the_adapter_in(tmp_path: Path) -> None:
    model = LanguageModel(causal(dtype=torch.float32))
    add_lora(model, LoRA(rank=2))
    disturb(model)
    before = model(MADE).logp_BT
    merge_lora(model)
    torch.testing.assert_close(model(MADE).logp_BT, before, rtol=1e-5, atol=1e-5)
    assert all(p.requires_grad for p in model.parameters())
    assert not any("lora" in name for name, _ in model.named_parameters())
    assert Reference(model).frozen is not None
    with pytest.raises(ModelError, match=r"no adapter to merge"):
        merge_lora(model)


def test_lora_rank_is_checked() -> None:
    with pytest.raises(ValueError, match=r"lora.rank must be >= 1, got 0"):
        LoRA(rank=0)


def test_what_is_written_last_says_that_the_folder_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    save_model(RewardModel(causal()), TOKENIZER, tmp_path)
    assert (tmp_path / ABOUT).exists()
    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(OSError, match=r"No space left"):
        save_model(RewardModel(causal()), TOKENIZER, tmp_path)
    assert not (tmp_path / ABOUT).exists()


def test_saving_over_another_model_leaves_nothing_of_it(tmp_path: Path) -> None:
    save_model(RewardModel(causal(dtype=torch.float32)), TOKENIZER, tmp_path)
    save_model(policy(), TOKENIZER, tmp_path)
    assert not (tmp_path / HEADS).exists()
    assert (load_policy(tmp_path, value="shared")(MADE, Want(value=True)).value_BT == 0).all()


def test_folders_that_are_no_models_say_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere"):
        load_causal(tmp_path / "nowhere")
    with pytest.raises(ModelError, match=r"has no config.json; a model folder needs config.json, weights"):
        load_causal(tmp_path)
    save_model(policy(value="shared"), TOKENIZER, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    assert (tmp_path / HEADS).exists(), "our heads alone are no weights"
    with pytest.raises(ModelError, match=r"has a configuration but no weights"):
        load_causal(tmp_path)


def test_a_policy_is_no_reward_model(tmp_path: Path) -> None:
    save_model(policy(), TOKENIZER, tmp_path / "plain")
    with pytest.raises(ModelError, match=f"is not a reward model: it has no {HEADS}; train one with"):
        load_reward_model(tmp_path / "plain")
    save_model(policy(value="shared"), TOKENIZER, tmp_path / "valued")
    with pytest.raises(ModelError, match=r"is not a reward model: it was saved as a policy"):
        load_reward_model(tmp_path / "valued")


def test_heads_of_another_model_do_not_fit(tmp_path: Path) -> None:
    save_model(RewardModel(causal(dtype=torch.float32)), TOKENIZER, tmp_path)
    heads = safetensors.torch.load_file(tmp_path / HEADS)
    del heads["gain"]
    safetensors.torch.save_file(heads, tmp_path / HEADS)
    with pytest.raises(ModelError, match=r"does not fit: missing .*gain"):
        load_reward_model(tmp_path)


def test_a_head_that_is_not_ours_is_refused() -> None:
    odd = causal(dtype=torch.float32)
    forward = odd.forward

    def doubled(*args: Any, **options: Any) -> Any:
        outputs = forward(*args, **options)
        outputs.logits = outputs.logits * 2
        return outputs

    odd.forward = doubled
    with pytest.raises(ModelError, match=r"odd \(llama\) changes its logits in a way"):
        check_head(odd, "odd")


@pytest.mark.parametrize("kind", ["gpt2", "gemma2", "gemma3", "qwen2"])
def test_heads_that_are_ours_are_not(kind: str) -> None:
    check_head(causal(kind, dtype=torch.float32), kind)


def test_random_models_are_the_same_for_the_same_seed_and_leave_the_generator_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one, other = causal(seed=1), causal(seed=2)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(one.lm_head.weight, causal(seed=1).lm_head.weight)
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)
    assert from_config(one.config, seed=1).lm_head.weight.dtype == torch.float32


def test_a_folder_without_our_facts_is_an_ordinary_model(tmp_path: Path) -> None:
    model = causal(dtype=torch.float32)
    model.save_pretrained(tmp_path)
    assert read_about(tmp_path) == {}
    assert load_policy(tmp_path).temperature == 1.0
    shutil.copy(tmp_path / "config.json", tmp_path / "copy.json")
    assert json.loads((tmp_path / "copy.json").read_text())["vocab_size"] == 31
