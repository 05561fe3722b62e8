"""What a piece of work needs at least: bytes read while sampling, operations while learning. No measurement is here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """Weights that are multiplied with, by where: the trunk's, and the output embedding's (the input embedding is only
    looked up). `queries` and `memories` are the widths of a layer's queries, and of its keys and values."""

    trunk: int
    head: int
    layers: int
    queries: int
    memories: int

    @property
    def all(self) -> int:
        return self.trunk + self.head


def weights_of(config: Any) -> Weights:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    head, tied = model.get_output_embeddings().weight.numel(), config.tie_word_embeddings
    total = sum(p.numel() for p in model.parameters())
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Weights(
        trunk=total - head - (0 if tied else model.get_input_embeddings().weight.numel()),
        head=head,
        layers=config.num_hidden_layers,
        queries=config.num_attention_heads * size,
        memories=config.num_key_value_heads * size,
    )


def bytes_read(weights: Weights, prompts: Sequence[int], tokens: int, *, size: int = 2) -> int:
    """While every prompt of so many tokens is answered by `tokens` more, all at once: in each step all weights, and the
    keys and values of all that a row holds; `size` bytes a number."""
    held = sum(length + step for length in prompts for step in range(tokens))
    return size * (tokens * weights.all + 2 * weights.layers * weights.memories * held)


def operations(weights: Weights, prompts: Sequence[int], answers: Sequence[Sequence[int]]) -> int:
    """Of a forward and a backward pass over prompts and, for each, its answers' lengths; a prompt is read once.

    6 for every weight of the trunk and token read (Kaplan et al. 2020), 6 for every weight of the head and token
    predicted, and 12 · layers · width for every token and token that it attends to.
    """
    read = sum(prompts) + sum(map(sum, answers))
    predicted = sum(map(sum, answers))
    seen = 0
    for prompt, each in zip(prompts, answers, strict=True):
        seen += prompt * (prompt + 1) // 2
        seen += sum(prompt * answer + answer * (answer + 1) // 2 for answer in each)
    return 6 * (weights.trunk * read + weights.head * predicted) + 12 * weights.layers * weights.queries * seen
