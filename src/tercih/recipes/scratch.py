"""A small model from nothing, for recipes that have no pre-trained one at hand: a tokenizer of their texts and a random
Llama. What it can learn afterwards is what its few texts show; it is no substitute for a pre-trained model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, PreTrainedTokenizerFast

from tercih.data.tokenize import Encoded, Tokenizer
from tercih.models.language_model import LanguageModel
from tercih.models.load import from_config, save_model

END = "<|endoftext|>"  # begins and ends every text, as GPT-2's does


@dataclass(frozen=True, kw_only=True, slots=True)
class ScratchModel:
    """The size of a model made from scratch."""

    vocabulary: int = 2048
    """Tokens of its byte-level BPE, trained on the texts at hand."""
    hidden: int = 128
    layers: int = 2
    heads: int = 4
    context: int = 512


def refuse(config: Any, names: Iterable[str], because: str) -> None:
    """Raise ValueError if one of these fields was changed although it then has no effect."""
    for field in fields(config):
        if field.name in names and getattr(config, field.name) != field.default:
            raise ValueError(f"--{field.name.replace('_', '-')} has no effect with {because}; leave one of them out")


def make_model(
    folder: Path, texts: Iterable[str], size: ScratchModel, seed: int, *, temperature: float = 1.0, chat: str = ""
) -> LanguageModel:
    """A tokenizer of `texts` (with the template `chat`) and a random Llama, saved to `folder` as any model is."""
    hf = make_tokenizer(texts, size, chat)
    config = LlamaConfig(
        vocab_size=len(hf),
        hidden_size=size.hidden,
        intermediate_size=3 * size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        max_position_embeddings=size.context,
        tie_word_embeddings=True,
        bos_token_id=hf.bos_token_id,
        eos_token_id=hf.eos_token_id,
    )
    model = LanguageModel(from_config(config, seed=seed), temperature=temperature)
    save_model(model, hf, folder)
    return model


def make_tokenizer(texts: Iterable[str], size: ScratchModel, chat: str = "") -> PreTrainedTokenizerFast:
    """GPT-2's way: bytes, then the pairs that occur most often."""
    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size.vocabulary, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=END,
        eos_token=END,
        clean_up_tokenization_spaces=False,
        chat_template=chat or None,
    )


def windows(texts: Sequence[str], tokenizer: Tokenizer, length: int, most: int) -> list[Encoded]:
    """The first `most` windows of `length` tokens of every text, each with the one token before it as its prompt."""
    cut = []
    for ids in tokenizer.hf(list(texts), add_special_tokens=False).input_ids:
        whole = (tokenizer.bos or tokenizer.eos, *ids, tokenizer.eos)
        for start in range(0, min(len(whole) - 1, most * length), length):
            response = whole[start + 1 : start + 1 + length]
            cut.append(Encoded(prompt=whole[start : start + 1], response=response, learn=(True,) * len(response)))
    return cut
