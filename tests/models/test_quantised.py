"""A base of four bits under an adapter: what it computes, trains, samples and saves is one and the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from commands import workshop
from small import CONFIGS, Fixed, byte_pairs, gradients, random_tokens
from tercih.algorithms.sft import SFT
from tercih.batches import Batch
from tercih.forward import Models
from tercih.metrics import read_metrics
from tercih.models.language_model import LanguageModel, Reference
from tercih.models.load import (
    LoRA,
    ModelError,
    add_lora,
    from_config,
    load_policy,
    merge_lora,
    save_model,
)
from tercih.models.memory import Memory, is_quantised, wide_weight
from tercih.optimisation import Optimisation
from tercih.rollout.engine import Engine
from tercih.rollout.remote import weights_of
from tercih.rollout.sampler import to_tokens
from tercih.rollout.sampling import Sampling
from tercih.train import fit

MADE = random_tokens([3, 4, 2], longest=12)
TEXT = Batch(tokens=MADE)


def test_without_the_library_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tercih.models.memory.find_spec", lambda _: None)
    workshop.write_model(tmp_path / "model")
    workshop.write_rows(tmp_path / "pairs.jsonl", workshop.DATA["pairs"])
    words = ("train", "dpo", "--model", tmp_path / "model", "--data", tmp_path / "pairs.jsonl", "--out", tmp_path / "o")
    outcome = workshop.tercih(*words, "--lora", 2, "--memory.quantize", "nf4")
    assert outcome.status == 2
    assert "error: memory.quantize='nf4' needs bitsandbytes: pip install 'tercih[quantized]'" in outcome.err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "train an adapter on them"),
        (("--lora", 4, "--shard"), "do not go together"),
        (("--lora", 4, "--value", "separate"), "set value to 'shared'"),
    ],
)
def test_what_cannot_be_trained_is_refused(given: tuple[Any, ...], said: str, tmp_path: Path) -> None:
    words = ("train", "ppo", "--model", tmp_path, "--data", "x.jsonl", "--out", tmp_path, "--memory.quantize", "nf4")
    outcome = workshop.tercih(*words, *given)
    assert outcome.status == 2
    assert said in outcome.err


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes (pip install 'tercih[quantized]')")
    folder = tmp_path_factory.mktemp("base")
    config = type(CONFIGS["llama_tied"])(
        **{**CONFIGS["llama_tied"].to_dict(), "hidden_size": 64, "intermediate_size": 192, "vocab_size": 330}
    )
    save_model(LanguageModel(from_config(config, seed=0)), byte_pairs(), folder)
    return folder


def adapted(folder: Path, **memory: Any) -> LanguageModel:
    """With an adapter that does something."""
    model = load_policy(folder, memory=Memory(quantize="nf4", **memory))
    torch.manual_seed(0)
    add_lora(model, LoRA(rank=2))
    for name, p in model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(p, std=0.05)
    return model


def logp(model: LanguageModel) -> Tensor:
    return model(MADE).logp_BT.detach()


def base_of(model: LanguageModel) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters() if not p.requires_grad]


def test_it_is_near_the_base_in_a_fraction_of_the_memory(saved: Path) -> None:
    whole, held = (load_policy(saved, memory=memory) for memory in (Memory(), Memory(quantize="nf4")))
    layers = [sum(p.numel() * p.element_size() for p in m.causal.model.layers.parameters()) for m in (whole, held)]
    gap_BT = (logp(held) - logp(whole)).abs()
    print(f"{layers[1] / layers[0]:.3f} of the layers' bytes; gap {gap_BT.mean():.3f}, at most {gap_BT.max():.3f} nats")
    assert layers[1] < 0.15 * layers[0]
    assert 1e-3 < float(gap_BT.mean()) < 0.5


@pytest.mark.parametrize("checkpointing", [False, True])
def test_its_gradient_is_that_of_the_same_base_in_32_bits(saved: Path, checkpointing: bool) -> None:
    model = adapted(saved, gradient_checkpointing=checkpointing).train()
    twin = load_policy(saved)
    add_lora(twin, LoRA(rank=2))
    with torch.no_grad():
        twin.load_state_dict({n: p for n, p in model.named_parameters() if p.requires_grad}, strict=False)
        for name, module in model.named_modules():
            if is_quantised(module):
                twin.get_submodule(name).weight.copy_(wide_weight(module))  # type: ignore[operator]
    for each in (model, twin):
        each(MADE).logp_BT.sum().backward()
    torch.testing.assert_close(logp(model), logp(twin), rtol=0, atol=2e-5)
    found, expected = gradients(model), gradients(twin)
    assert found.keys() == expected.keys()
    scale = max(float(g.abs().max()) for g in expected.values())
    assert all(".lora_" in name for name in found)
    for name, gradient in expected.items():
        assert float((found[name] - gradient).abs().max()) <= 1e-4 * scale, name


def test_it_learns_on_a_base_that_stays_which_is_its_reference(saved: Path, tmp_path: Path) -> None:
    model = load_policy(saved, memory=Memory(quantize="nf4"))
    start = logp(model)
    add_lora(model, LoRA(rank=4))
    reference, base = Reference(model), base_of(model)
    metrics = fit(SFT(), Models(policy=model), Fixed(TEXT, 30), Optimisation(lr=1e-2), tmp_path)
    assert metrics["nats_per_token"] < 0.5 * read_metrics(tmp_path)[0]["nats_per_token"]
    assert all(torch.equal(x, y) for x, y in zip(base, base_of(model), strict=True))
    assert torch.equal(reference(MADE), start)


def test_it_goes_on_where_it_was_killed(saved: Path, tmp_path: Path) -> None:
    def trained(folder: Path, stop: int | None = None) -> LanguageModel:
        def stopping(step: int, _: Any) -> None:
            if step + 1 == stop:
                raise KeyboardInterrupt

        model = adapted(saved)
        fit(SFT(), Models(policy=model), Fixed(TEXT, 4), Optimisation(), folder, save_every=0.0, on_step=stopping)
        return model

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "parts", stop=2)
    expected, found = trained(tmp_path / "whole"), trained(tmp_path / "parts")
    assert torch.equal(logp(found), logp(expected))


def test_what_samples_is_what_learns(saved: Path) -> None:
    model = adapted(saved).train()
    before, base = logp(model), base_of(model)
    engine = Engine(model.causal, eos_ids={2}, max_batch=3)
    assert engine.exact
    generated = engine.generate([[3, 4, 5], [6, 7]], Sampling(max_new_tokens=8), samples=3, seed=0)
    assert torch.equal(logp(model), before), "sampling changed the weights"
    assert all(torch.equal(x, y) for x, y in zip(base, base_of(model), strict=True))
    tokens = to_tokens(generated, [[3, 4, 5], [6, 7]])
    torch.testing.assert_close(model(tokens).logp_BT.detach(), generated.logp_BT, rtol=0, atol=1e-5)


def test_it_is_saved_as_an_ordinary_model(saved: Path, tmp_path: Path) -> None:
    model = adapted(saved)
    save_model(model, byte_pairs(), tmp_path)
    again = load_policy(tmp_path)
    assert not any(map(is_quantised, again.causal.modules()))
    torch.testing.assert_close(logp(again), logp(model), rtol=0, atol=1e-5)
    worker = from_config(model.causal.config, seed=1)  # as a rollout worker on a cluster has it
    worker.load_state_dict(weights_of(model))
    torch.testing.assert_close(logp(LanguageModel(worker)), logp(model), rtol=0, atol=1e-5)
    with pytest.raises(ModelError, match="save_model"):
        merge_lora(model)


def test_the_command_trains_on_it(saved: Path, tmp_path: Path) -> None:
    workshop.write_model(tmp_path / "model")
    workshop.write_rows(tmp_path / "pairs.jsonl", workshop.DATA["pairs"])
    words = ("train", "dpo", "--model", tmp_path / "model", "--data", tmp_path / "pairs.jsonl", "--out", tmp_path / "o")
    outcome = workshop.tercih(*words, "--lora", 2, "--memory.quantize", "nf4", "--memory.gradient-checkpointing")
    assert outcome.status == 0, outcome.err
    assert "quantization_config" not in (tmp_path / "o" / "model" / "config.json").read_text()
