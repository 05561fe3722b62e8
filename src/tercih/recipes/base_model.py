"""The small language model that ships with the project, made from nothing.

A tokenizer and a transformer that have read a million different texts of the grammar once, so that the whole loop runs
without a network. Its texts are questions with replies in all moods, helpful and not; what it learns is the language,
not which reply to prefer. It takes one CPU core the better part of an hour.
"""

import hashlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, PreTrainedTokenizerFast

from tercih.algorithms.sft import SFT
from tercih.batches import Batch
from tercih.data.collate import collate
from tercih.data.tokenize import Encoded, Tokenizer
from tercih.environments import grammar
from tercih.forward import Models
from tercih.models.language_model import LanguageModel
from tercih.models.load import default_device, from_config, read_about, save_model
from tercih.optimisation import Optimisation
from tercih.run import Run
from tercih.train import fit

BOS, EOS, PAD = "<s>", "</s>", "<pad>"
# A conversation in the words of the grammar: the same text as a plain prompt and its completion.
CHAT = (
    "{{ bos_token }}{% for message in messages %}{% if not loop.first %}{{ '\n' }}{% endif %}"
    "{% if message.role == 'user' %}Visitor: {{ message.content }}"
    "{% elif message.role == 'assistant' %}Helper: {{ message.content }}{{ eos_token }}"
    "{% else %}{{ raise_exception('only users and assistants speak the grammar') }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '\nHelper:' }}{% endif %}"
)
WINDOW = 64  # batches that are cut from texts sorted by length together


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseModel:
    """A language model of the grammar, trained from scratch."""

    out: Path = Path("runs/base_model")
    """Run folder; the model lies in its `model`. The same command on the same folder goes on where it was."""
    seed: int = 0
    texts: int = 1_000_000
    """Distinct texts to read, each once."""
    heldout: int = 2000
    """Further texts, different from all that were read, for the final measurement."""
    rows: int = 128
    """Texts in a batch."""
    vocabulary: int = 1024
    """The most tokens there may be; the grammar's words need fewer."""
    hidden: int = 128
    layers: int = 2
    heads: int = 4
    intermediate: int = 384
    context: int = 128
    optimisation: Optimisation = Optimisation(lr=4e-3, schedule="cosine", warmup=0.02, betas=(0.9, 0.95))
    bfloat16: bool = False
    """Multiply matrices in bfloat16 while training; weights and all else stay float32. The shipped model was made so.
    It takes 30 % less time on a CPU with AMX, but the process grows to 8 GB (half a GB without)."""
    tiny: bool = False
    """A few seconds' version of everything, to see that it runs."""


def main(config: BaseModel) -> dict[str, Any]:
    """Train, measure and save; returns what `tercih.json` says about the model."""
    run = Run(config.out, "base_model", config, seed=config.seed)
    settings = replace(config, texts=2048, heldout=256) if config.tiny else config
    folder = run.stage("model", "Read the grammar", lambda folder: read_the_grammar(folder, settings))
    run.finish()
    return read_about(folder)


def read_the_grammar(folder: Path, config: BaseModel) -> str:
    """Nothing -> base model."""
    tokenizer = Tokenizer(build_tokenizer(config.seed, min(config.texts, 20_000), config.vocabulary, config.context))
    model = LanguageModel(build_model(config, tokenizer).to(default_device()))
    data = Corpus(tokenizer=tokenizer, seed=config.seed, texts=config.texts, size=config.rows)
    further = replace(data, first=config.texts, texts=config.heldout)
    with multiply_in_bfloat16(config.bfloat16):
        fit(SFT(), Models(policy=model), data, config.optimisation, folder, title="reading the grammar")
    facts = {
        "recipe": "base_model",
        "seed": config.seed,
        "distinct_texts": distinct(config.seed, config.texts),
        "steps": data.steps,
        "bfloat16": config.bfloat16,
        "parameters": sum(p.numel() for p in model.parameters()),
        "heldout_nats_per_token": nats_per_token(model, further),
    }
    save_model(model, tokenizer.hf, folder, **facts)
    nats = facts["heldout_nats_per_token"]
    return f"{facts['distinct_texts']} distinct texts, {nats:.3f} nats per token on {config.heldout} further ones"


@contextmanager
def multiply_in_bfloat16(wanted: bool) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium" if wanted else before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def build_tokenizer(seed: int, texts: int, vocabulary: int, context: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE. Every word of the grammar becomes one token, with the space before it."""
    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(grammar.sample_texts(seed, texts), trainer)
    start = (BOS, bpe.token_to_id(BOS))
    bpe.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[start])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT,
    )


def build_model(config: BaseModel, tokenizer: Tokenizer) -> Any:
    """A Llama with tied embeddings, randomly initialised."""
    llama = LlamaConfig(
        vocab_size=len(tokenizer.hf),
        hidden_size=config.hidden,
        intermediate_size=config.intermediate,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        max_position_embeddings=config.context,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos,
        eos_token_id=tokenizer.eos,
        pad_token_id=tokenizer.hf.pad_token_id,
        attn_implementation="eager",  # the fastest on a CPU for texts this short; whoever loads the model has its own
    )
    return from_config(llama, seed=config.seed)


@dataclass(kw_only=True)
class Corpus:
    """Texts `first` to `first + texts` of the grammar's stream in batches of `size`, each read once.

    Batches hold texts of like length, so that little is padding; their order is shuffled. Batch number `step` depends
    on (seed, step) alone: after an interruption the stream is drawn again up to there, which takes seconds.
    """

    tokenizer: Tokenizer
    seed: int
    texts: int
    size: int
    first: int = 0
    window: int = field(default=-1, init=False)
    rows: list[Encoded] = field(default_factory=list, init=False)
    stream: Iterator[str] = field(default=iter(()), init=False)

    @property
    def steps(self) -> int:
        return -(-self.texts // self.size)

    def __call__(self, step: int) -> Batch:
        window, index = divmod(step, WINDOW)
        if window != self.window:
            self._read(window)
        order = np.random.default_rng((self.seed, window)).permutation(-(-len(self.rows) // self.size))
        start = int(order[index]) * self.size
        return Batch(tokens=collate(self.rows[start : start + self.size]))

    def _read(self, window: int) -> None:
        if self.window < 0 or window < self.window:
            self.stream, self.window = grammar.sample_texts(self.seed, self.first + self.texts), -1
            _skip(self.stream, self.first)
        _skip(self.stream, (window - self.window - 1) * WINDOW * self.size)
        texts = list(islice(self.stream, WINDOW * self.size))
        start, end = (self.tokenizer.bos or 0,), self.tokenizer.eos
        rows = [(*ids, end) for ids in self.tokenizer.hf(texts, add_special_tokens=False).input_ids]
        rows.sort(key=len)
        self.rows = [Encoded(prompt=start, response=ids, learn=(True,) * len(ids)) for ids in rows]
        self.window = window

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert not state


def _skip(stream: Iterator[str], count: int) -> None:
    deque(islice(stream, count), maxlen=0)


def distinct(seed: int, texts: int) -> int:
    """How many different texts the stream really has, by their hashes."""
    return len({hashlib.blake2b(text.encode(), digest_size=16).digest() for text in grammar.sample_texts(seed, texts)})


@torch.no_grad()
def nats_per_token(model: LanguageModel, corpus: Corpus) -> float:
    """Mean cross-entropy over all tokens of a corpus."""
    total, count = 0.0, 0
    for step in range(corpus.steps):
        tokens = corpus(step).tokens.to(next(model.parameters()).device)
        logp_BT = model(tokens).logp_BT
        assert logp_BT is not None
        total -= float(logp_BT.double().sum())
        count += int(tokens.loss_mask_BT.sum())
    return total / count
