"""How a model in training takes less memory: 16-bit weights, a base of four bits, layers that are computed twice."""

import copy
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import torch
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig


class ModelError(ValueError):
    """A model folder or name that cannot be used, and what to do about it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """What a model that is trained holds, and for how much time."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the weights; "auto" is as they were saved. What is trained of 16-bit weights has a float32 copy beside it,
    which the optimiser works on, and losses are float32 whatever it is."""
    quantize: Literal["none", "nf4"] = "none"
    """"nf4" holds the base under an adapter (--lora) in four bits (QLoRA; Dettmers et al. 2023, arXiv:2305.14314)."""
    gradient_checkpointing: bool = False
    """Keep what enters a layer alone, and compute the layer again in the backward pass: the same gradient for about a
    third more work."""

    def check(self, *, lora: int, shard: bool = False, value: str = "shared") -> None:
        """ValueError for what cannot be trained: four-bit weights stay as they are, whole, in every process."""
        if self.quantize == "none":
            return
        given = f"memory.quantize={self.quantize!r}"
        if not lora:
            raise ValueError(f"{given} holds weights that cannot be trained: train an adapter on them (--lora 16)")
        if shard:
            raise ValueError(f"{given} and shard do not go together: leave one of them out")
        if value == "separate":
            raise ValueError(f"{given} leaves no trunk that values could train apart: set value to 'shared'")


AS_SAVED = Memory()


def check_installed(memory: Memory) -> None:
    if memory.quantize != "none" and find_spec("bitsandbytes") is None:
        raise ModelError(f"memory.quantize={memory.quantize!r} needs bitsandbytes: pip install 'tercih[quantized]'")


def to_load(memory: Memory, device: str) -> dict[str, Any]:
    """What `from_pretrained` is told."""
    check_installed(memory)
    told: dict[str, Any] = {"dtype": memory.dtype}
    if memory.quantize != "none":
        # The scales are quantised as well, as in the paper (§3, double quantisation).
        held = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
        told |= {"quantization_config": held, "device_map": {"": device}}
    return told


def settle(causal: Any, memory: Memory) -> None:
    """What is left to be said to a loaded model. ValueError where its layers cannot be computed again."""
    for layer in causal.modules():
        if is_quantised(layer):
            layer.compute_dtype = causal.dtype
            # On some processors it would round the weights once more, for good, when first it samples.
            layer.support_avx512bf16_for_cpu = False
    if memory.gradient_checkpointing:
        newer = getattr(causal, "activation_checkpointing_enable", None)  # its name in newer transformers
        (newer or causal.gradient_checkpointing_enable)({"use_reentrant": False})


def is_quantised(module: nn.Module) -> bool:
    """Whether its own weight has four bits; by name, since the library need not be installed."""
    return any(type(p).__name__ == "Params4bit" for p in module.parameters(recurse=False))


def wide_weight(module: nn.Module) -> Tensor:
    """What a layer multiplies by, as an ordinary tensor."""
    weight: Tensor = dequantize_module_weight(module)
    return weight.detach()


def unquantised(causal: Any) -> Any:
    """The same architecture with ordinary layers, without weights; the model itself where it has such layers."""
    if not any(map(is_quantised, causal.modules())):
        return causal
    config = copy.deepcopy(causal.config)
    del config.quantization_config
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=causal.dtype)


__all__ = [
    "AS_SAVED",
    "Memory",
    "ModelError",
    "check_installed",
    "is_quantised",
    "settle",
    "to_load",
    "unquantised",
    "wide_weight",
]
