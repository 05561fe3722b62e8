"""Models from and to Hugging Face folders (or Hub names), with adapters and heads beside them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import safetensors.torch
import torch
import transformers
from peft.tuners.lora import LoraLayer
from torch import Tensor
from transformers import AutoModelForCausalLM

from tercih import places
from tercih.models.action_values import ActionValueModel
from tercih.models.language_model import LanguageModel
from tercih.models.memory import AS_SAVED, Memory, ModelError, is_quantised, settle, to_load, unquantised, wide_weight
from tercih.models.reward_model import RewardModel

HEADS = "tercih_heads.safetensors"
ABOUT = "tercih.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class LoRA:
    """A low-rank adapter (Hu et al. 2021, arXiv:2106.09685) on all linear layers; its base stays frozen."""

    rank: int = 16
    alpha: float = 32.0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"lora.rank must be >= 1, got {self.rank}")


def load_causal(name: str | Path, *, memory: Memory = AS_SAVED, device: str | None = None) -> Any:
    """A causal language model from a folder or the Hub; refuses one whose head `LanguageModel` cannot compute."""
    check_folder(name)
    device = device or default_device()
    with _quiet():
        causal = AutoModelForCausalLM.from_pretrained(str(name), **to_load(memory, device))
    if memory.quantize == "none":
        causal = causal.to(device)
    try:
        settle(causal, memory)
    except ValueError as error:
        raise ModelError(f"{name}: {error}") from error
    check_head(causal, name)
    return causal


def from_config(config: Any, *, seed: int, dtype: torch.dtype = torch.float32) -> Any:
    """A randomly initialised causal model; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, dtype=dtype)


def check_folder(name: str | Path) -> None:
    if problem := places.missing(name):
        raise ModelError(problem)
    path = Path(name)
    if not path.exists():
        return  # a Hub name
    if not (path / "config.json").exists():
        raise ModelError(f"{path} has no config.json; a model folder needs config.json, weights and a tokenizer")
    kinds = ("*.safetensors", "pytorch_model*.bin")
    if not any(f.name != HEADS for kind in kinds for f in path.glob(kind)):
        raise ModelError(
            f"{path} has a configuration but no weights (model.safetensors); copy them there, or name another model"
        )


@torch.no_grad()
def check_head(causal: Any, name: str | Path) -> None:
    """Compare the logits that our chunked head gives with the model's own; some architectures transform them."""
    probe = torch.arange(8, device=causal.device)[None] % causal.config.vocab_size
    was_training = causal.training
    causal.eval()
    ours = LanguageModel(causal).head(causal.base_model(input_ids=probe, use_cache=False).last_hidden_state)
    theirs = causal(input_ids=probe, use_cache=False).logits
    causal.train(was_training)
    if not bool(torch.isfinite(theirs).all()):
        raise ModelError(f"{name} gives logits that are not finite: its weights hold NaN or infinity; fetch it again")
    if not torch.allclose(ours.float(), theirs.float(), atol=1e-3, rtol=1e-3):
        raise ModelError(
            f"{name} ({causal.config.model_type}) changes its logits in a way that"
            " LanguageModel.head does not know; use a model of another architecture"
        )


def add_lora(model: LanguageModel | RewardModel, lora: LoRA) -> None:
    """Freeze the model and train an adapter in its place; heads stay trainable."""
    config = peft.LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, target_modules="all-linear", lora_dropout=0.0, task_type="CAUSAL_LM"
    )
    adapted = peft.get_peft_model(model.causal, config)
    model.__dict__["peft"] = adapted  # not a submodule: its weights are already in `causal`
    model.causal = adapted.get_base_model()


def merge_lora(model: LanguageModel | RewardModel) -> None:
    """Fold the adapter into the weights; afterwards the model is an ordinary one again, all of it trainable."""
    if model.peft is None:
        raise ModelError("this model has no adapter to merge")
    if any(map(is_quantised, model.causal.modules())):
        raise ModelError("a quantised base cannot take its adapter in; `save_model` saves the two of them as one")
    model.causal = model.peft.merge_and_unload()
    model.peft = None
    model.causal.requires_grad_(True)


def save_model(model: LanguageModel | RewardModel, tokenizer: Any, folder: str | Path, **about: Any) -> Path:
    """A Hugging Face folder any other tool can load (an adapter is saved merged beside its own files), plus our heads.

    What is written last is `tercih.json`, so that a folder that has it is whole.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for ours in (ABOUT, HEADS):  # of a model that was saved here before
        (folder / ours).unlink(missing_ok=True)
    if model.peft is not None:
        model.peft.save_pretrained(folder / "adapter")
    save_weights(model, folder)
    tokenizer.save_pretrained(folder)
    heads = {k: v.contiguous() for k, v in model.state_dict().items() if not k.startswith(("causal.", "peft."))}
    if heads:
        safetensors.torch.save_file(heads, folder / HEADS)
    facts = {"kind": type(model).__name__, **{k: v for k, v in about.items() if v is not None}}
    if isinstance(model, LanguageModel):
        facts["temperature"] = model.temperature
        if model.value_head is not None:
            facts["value"] = "shared" if model.value_trunk is None else "separate"
    else:
        facts["readout"] = model.readout
        if model.centres:
            facts["bins"] = list(model.centres)
    _readable(folder)
    (folder / ABOUT).write_text(json.dumps(facts, indent=2))
    return folder


def save_weights(model: LanguageModel | RewardModel, folder: Path) -> None:
    """The weights as they are now, an adapter folded in, and the configuration; no tokenizer and no heads."""
    weights = None if model.peft is None else merged_weights(model.causal)
    with _quiet():
        unquantised(model.causal).save_pretrained(folder, state_dict=weights)
    _readable(folder)


def _readable(folder: Path) -> None:
    for path in folder.glob("*.safetensors"):  # written with mode 600, whatever the umask says
        path.chmod((folder / "config.json").stat().st_mode)


def merged_weights(causal: Any) -> dict[str, Tensor]:
    """What the weights are with the adapter folded in, computed beside them: they stay as they are to the last bit.

    Those of a quantised base are what it computes with."""
    known = {n for n, _ in [*causal.named_parameters(remove_duplicate=False), *causal.named_buffers()]}
    held = {k: v for k, v in causal.state_dict().items() if k in known and ".lora_" not in k}
    state = {k.replace(".base_layer.", "."): v for k, v in held.items()}
    for name, module in causal.named_modules():
        if isinstance(module, LoraLayer):
            weight = wide_weight(module.get_base_layer())
            for adapter in module.active_adapters:
                weight = weight + module.get_delta_weight(adapter).to(weight.dtype)
            state[f"{name}.weight"] = weight
    return state


def load_policy(
    folder: str | Path,
    *,
    value: str | None = None,
    actions: bool = False,
    memory: Memory = AS_SAVED,
    device: str | None = None,
) -> LanguageModel:
    """A policy; values saved beside it, of states or (`actions`) of tokens, are restored when they are asked for."""
    about = read_about(folder)
    if value is not None and about.get("value", value) != value:
        raise ModelError(f"{folder} was saved with value={about['value']!r}, but value={value!r} was asked for")
    causal = load_causal(folder, memory=memory, device=device)
    temperature, heads = about.get("temperature", 1.0), Path(folder) / HEADS
    if actions:
        valued = ActionValueModel(causal, temperature=temperature)
        if about.get("kind") == ActionValueModel.__name__:
            _load_heads(valued, heads)
        return valued
    model = LanguageModel(causal, temperature=temperature, value=value)
    if value is not None and heads.exists() and about.get("kind") == LanguageModel.__name__:
        _load_heads(model, heads)
    return model


def is_reward_model(folder: str | Path) -> bool:
    """Whether a reward model was saved there, with its head."""
    policies = (LanguageModel.__name__, ActionValueModel.__name__)
    return (Path(folder) / HEADS).exists() and read_about(folder).get("kind") not in policies


def reads_rules(folder: str | Path) -> bool:
    """Whether a reward model was saved there that wants a rule before every prompt (`save_model(…, reads="rules")`)."""
    return is_reward_model(folder) and read_about(folder).get("reads") == "rules"


def load_reward_model(folder: str | Path, *, memory: Memory = AS_SAVED, device: str | None = None) -> RewardModel:
    check_folder(folder)
    heads, about = Path(folder) / HEADS, read_about(folder)
    if not is_reward_model(folder):
        why = f"it has no {HEADS}" if not heads.exists() else "it was saved as a policy"
        raise ModelError(f"{folder} is not a reward model: {why}; train one with `tercih train bradley_terry`")
    readout, bins = about.get("readout", "last"), about.get("bins", ())
    model = RewardModel(load_causal(folder, memory=memory, device=device), readout=readout, bins=bins)
    _load_heads(model, heads)
    return model


def _load_heads(model: LanguageModel | RewardModel, path: Path) -> None:
    missing, unexpected = model.load_state_dict(safetensors.torch.load_file(path), strict=False)
    missing = [k for k in missing if not k.startswith("causal.")]
    if missing or unexpected:
        raise ModelError(f"{path} does not fit: missing {missing[:3]}, unexpected {unexpected[:3]}")


def read_about(folder: str | Path) -> dict[str, Any]:
    path = Path(folder) / ABOUT
    return dict(json.loads(path.read_text())) if path.exists() else {}


def default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


@contextmanager
def _quiet() -> Iterator[None]:
    """No second progress bar under our own."""
    transformers.utils.logging.disable_progress_bar()
    yield


__all__ = [
    "LoRA", "Memory", "ModelError", "add_lora", "check_folder", "default_device", "from_config", "load_causal",
    "load_policy", "load_reward_model", "merge_lora", "read_about", "save_model", "save_weights",
]  # fmt: skip
