"""Tiny models with random weights, one of each kind of attention that the engine must get right."""

import random

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from tercih.rollout.engine import Generated

VOCABULARY = 61
CONTEXT = 128
ENDS = (5, 11, 17, 23)  # several, so that responses end at many lengths
_COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": list(ENDS),
}
_MIXED = ["sliding_attention", "full_attention", "sliding_attention"]
CONFIGS = {
    "llama": LlamaConfig(**_COMMON),
    "gpt2": GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=3, n_head=4, n_positions=CONTEXT, initializer_range=0.2,
        bos_token_id=1, eos_token_id=list(ENDS),
    ),
    "qwen2": Qwen2Config(**_COMMON),
    "qwen3": Qwen3Config(**_COMMON),
    "gemma2": Gemma2Config(**_COMMON, sliding_window=8, query_pre_attn_scalar=8, layer_types=_MIXED),
    "gemma3": Gemma3TextConfig(**_COMMON, sliding_window=8, query_pre_attn_scalar=8, layer_types=_MIXED),
    "mistral": MistralConfig(**_COMMON, sliding_window=8),
}  # fmt: skip


def tiny(name: str, dtype: torch.dtype = torch.float64) -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(CONFIGS[name]).to(dtype).eval()


def prompts(count: int, longest: int = 20, seed: int = 0) -> list[list[int]]:
    rng = random.Random(seed)
    return [[rng.randrange(VOCABULARY) for _ in range(rng.randint(1, longest))] for _ in range(count)]


def responses(generated: Generated) -> list[list[int]]:
    lengths = generated.response_len_B.tolist()
    return [ids[:n] for ids, n in zip(generated.response_ids_BT.tolist(), lengths, strict=True)]


def full_logp(model: PreTrainedModel, prompt: list[int], response: list[int], temperature: float = 1.0) -> Tensor:
    """What one plain forward pass says of a response."""
    with torch.no_grad():
        logits = model(torch.tensor([prompt + response])).logits[0] / temperature
    return logits.log_softmax(-1)[len(prompt) - 1 : -1].gather(1, torch.tensor(response)[:, None]).squeeze(1)
