"""What saves memory changes no number that it does not say it changes."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from commands import workshop
from small import CONFIGS, Fixed, byte_pairs, causal, gradients, random_tokens
from tercih.algorithms.sft import SFT
from tercih.batches import Batch
from tercih.checkpoint import Checkpoints
from tercih.forward import Models, Want
from tercih.metrics import read_metrics
from tercih.models.language_model import LanguageModel
from tercih.models.load import LoRA, ModelError, add_lora, from_config, load_causal, load_policy, save_model
from tercih.models.memory import Memory, settle
from tercih.models.reward_model import RewardModel
from tercih.optimisation import Optimisation
from tercih.tokens import Tokens
from tercih.train import fit

MADE = random_tokens([3, 4, 2], longest=20, holes=True)  # prompts are read once, where that may be
CHECKPOINTED = Memory(gradient_checkpointing=True)


def policy(kind: str, memory: Memory) -> nn.Module:
    made = causal(kind)
    settle(made, memory)
    return LanguageModel(made, value="shared")


def separate(kind: str, memory: Memory) -> nn.Module:
    made = causal(kind)
    settle(made, memory)
    return LanguageModel(made, value="separate")


def reward_model(kind: str, memory: Memory) -> nn.Module:
    made = causal(kind)
    settle(made, memory)
    return RewardModel(made)


def adapted(kind: str, memory: Memory) -> nn.Module:
    model = policy(kind, memory)
    torch.manual_seed(0)
    add_lora(model, LoRA(rank=2))  # type: ignore[arg-type]
    return model


def numbers(model: nn.Module) -> tuple[Tensor, dict[str, Tensor]]:
    """What the model says of `MADE`, and the gradients of an arbitrary sum of it."""
    model.train()
    if isinstance(model, LanguageModel):
        said = model(MADE, Want(value=True, entropy=True))
        x = torch.stack([said.logp_BT, said.entropy_BT, said.value_BT])
    else:
        x = model(MADE)
    weights = torch.linspace(-1, 1, x.numel(), dtype=x.dtype).view(x.shape)
    ((x + x**2) * weights).sum().backward()
    return x.detach(), gradients(model)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3"])
@pytest.mark.parametrize("make", [policy, separate, reward_model, adapted])
def test_layers_computed_twice_give_the_same(make: Callable[[str, Memory], nn.Module], kind: str) -> None:
    (plain, expected), (twice, found) = (numbers(make(kind, memory)) for memory in (Memory(), CHECKPOINTED))
    torch.testing.assert_close(twice, plain, rtol=0, atol=2e-6)  # norms are float32
    assert found.keys() == expected.keys()
    scale = max(float(g.abs().max()) for g in expected.values())
    for name, gradient in expected.items():
        assert float((found[name] - gradient).abs().max()) <= 1e-5 * scale, name


@pytest.mark.parametrize("make", [policy, separate, reward_model, adapted])
def test_layers_are_computed_twice(make: Callable[[str, Memory], nn.Module]) -> None:
    """Else the test above compares nothing."""

    def passes(memory: Memory) -> int:
        model, seen = make("llama", memory), 0

        def one_more(*_: Any) -> None:
            nonlocal seen
            seen += 1

        for module in model.modules():
            if type(module).__name__ == "LlamaMLP":
                module.register_forward_pre_hook(one_more)  # a recomputation stops before its end
        alone = random_tokens([1, 1])  # no prompt to share
        said = model.train()(alone)
        (said if isinstance(said, Tensor) else said.logp_BT).sum().backward()
        return seen

    assert passes(CHECKPOINTED) == 2 * passes(Memory()) > 0


def test_what_is_loaded_checkpoints_its_layers(tmp_path: Path) -> None:
    save_model(LanguageModel(causal(dtype=torch.float32)), byte_pairs(), tmp_path)
    model = load_policy(tmp_path, memory=CHECKPOINTED).train()
    assert all(layer.gradient_checkpointing for layer in model.causal.base_model.layers)


def test_a_model_that_cannot_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(LanguageModel(causal(dtype=torch.float32)), byte_pairs(), tmp_path)
    monkeypatch.setattr("transformers.LlamaForCausalLM.supports_gradient_checkpointing", False)
    with pytest.raises(ModelError, match="LlamaForCausalLM does not support"):
        load_causal(tmp_path, memory=CHECKPOINTED)


def peaks() -> tuple[float, float]:
    """MiB by which the process grew while a model of eight layers learned from 16 rows of 200 tokens, its layers
    computed twice, and then once."""
    config = type(CONFIGS["llama"])(
        vocab_size=64, hidden_size=128, intermediate_size=512, num_hidden_layers=8, num_attention_heads=4,
        max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    ids = torch.randint(3, 64, (16, 200), generator=torch.Generator().manual_seed(0))
    rows = Tokens(
        prompt_ids_PS=ids[:, :4], prompt_len_P=torch.full((16,), 4), response_ids_BT=ids[:, 4:],
        response_len_B=torch.full((16,), 196), prompt_of_B=torch.arange(16),
        loss_mask_BT=torch.ones(16, 196, dtype=torch.bool),
    )  # fmt: skip
    models = []
    for memory in (CHECKPOINTED, Memory()):
        made = from_config(config, seed=0)
        settle(made, memory)
        models.append(LanguageModel(made).train())
        models[-1](random_tokens([1])).logp_BT.sum().backward()  # libraries have loaded what they load
    before, after = resident(), []
    for model in models:
        model(rows).logp_BT.sum().backward()
        after.append(resident() - before)
    return after[0], after[1]


def resident() -> float:
    """The most memory the process has had, in MiB, by the operating system's accounting. (`ru_maxrss` would begin at
    what the process that started it has had.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


@pytest.mark.learns
def test_layers_computed_twice_need_less_memory() -> None:
    program = [sys.executable, "-c", "from models.test_memory import peaks; print(*peaks())"]
    ran = subprocess.run(program, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=200)
    assert ran.returncode == 0, ran.stderr
    twice, once = map(float, ran.stdout.split())
    print(f"{once:.0f} MiB, {twice:.0f} MiB with layers that are computed twice")
    assert 0 < twice < 0.5 * once


def in_16_bits(folder: Path | None = None, *, stop: int | None = None) -> LanguageModel:
    """Trained for 40 steps, each of which moves a weight by less than its last bit."""
    model = LanguageModel(causal(dtype=torch.bfloat16))

    def stopping(step: int, _: Any) -> None:
        if step + 1 == stop:
            raise KeyboardInterrupt

    fit(SFT(), Models(policy=model), Fixed(TEXT, 40), SLOW, folder, save_every=0.0, on_step=stopping)
    return model


TEXT = Batch(tokens=random_tokens([1] * 6))
SLOW = Optimisation(lr=2e-4, schedule="constant", eps=1e-4)


@torch.no_grad()
def nats(model: LanguageModel) -> float:
    return float(-LanguageModel(model.causal.double())(TEXT.tokens).logp_BT.sum())


def test_16_bit_weights_learn_as_32_bit_weights_do() -> None:
    start = LanguageModel(causal(dtype=torch.bfloat16))
    wide = LanguageModel(causal(dtype=torch.bfloat16).float())
    fit(SFT(), Models(policy=wide), Fixed(TEXT, 40), SLOW)
    plain = LanguageModel(causal(dtype=torch.bfloat16))  # the control: what is trained in 16 bits alone
    optimiser = torch.optim.AdamW(plain.parameters(), lr=SLOW.lr, eps=SLOW.eps, weight_decay=0.0)
    for _ in range(40):
        optimiser.zero_grad()
        (-plain(TEXT.tokens).logp_BT.sum() / TEXT.units()["tokens"]).backward()
        optimiser.step()
    first, last, without, ours = (nats(model) for model in (start, wide, plain, in_16_bits()))
    assert first - last > 1
    assert ours - last < 0.1 * (first - last)
    assert without - last > 0.2 * (first - last)


def test_a_checkpoint_of_16_bit_weights_holds_32(tmp_path: Path) -> None:
    expected = in_16_bits(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        in_16_bits(tmp_path / "parts", stop=7)
    saved = Checkpoints(tmp_path / "parts" / "checkpoints").load()[1]  # type: ignore[index]
    moments = [x for state in saved["optimiser"]["state"].values() for x in state.values()]
    assert {x.dtype for x in [*moments, *saved["model"].values()]} == {torch.float32}
    went_on = in_16_bits(tmp_path / "parts")
    for name, p in expected.named_parameters():
        assert p.dtype == torch.bfloat16
        assert torch.equal(went_on.get_parameter(name), p), name
    assert read_metrics(tmp_path / "parts") == read_metrics(tmp_path / "whole")


@pytest.mark.parametrize(
    ("method", "data", "more"),
    [
        ("bradley_terry", "pairs", ()),
        ("dpo", "pairs", ("--lora", 2)),
        (
            "ppo",
            "prompts",
            ("--reward", "{}/reward.py:length", "--steps", 2, "--value", "separate", "--sampling.max-new-tokens", 8),
        ),
    ],
)
def test_the_command_takes_the_options(method: str, data: str, more: tuple[Any, ...], tmp_path: Path) -> None:
    workshop.write_model(tmp_path / "model")
    workshop.write_rows(tmp_path / "data.jsonl", workshop.DATA[data])
    (tmp_path / "reward.py").write_text("def length(prompt, completion, **_):\n    return len(completion)\n")
    words = ("train", method, "--model", tmp_path / "model", "--data", tmp_path / "data.jsonl", "--out", tmp_path / "o")
    given = [str(word).format(tmp_path) for word in more]
    outcome = workshop.tercih(*words, "--memory.dtype", "bfloat16", "--memory.gradient-checkpointing", *given)
    assert outcome.status == 0, outcome.err
    assert load_causal(tmp_path / "o" / "model").dtype == torch.bfloat16
    rows = read_metrics(tmp_path / "o" / "model")
    assert ("engine/gap" in rows[0]) == (method == "ppo")
