"""Small things that tests of several rooms need: models with random weights, a tokenizer, batches with odd shapes."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from tokenizers import Tokenizer as Tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import (
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from tercih.batches import Pairs, Rankings, Rollout, Scored, Thumbs, Turns
from tercih.models.load import from_config
from tercih.tokens import Tokens

VOCABULARY = 31
_COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_MIXED = ["sliding_attention", "full_attention"]
CONFIGS = {
    "llama": LlamaConfig(**_COMMON),
    "llama_tied": LlamaConfig(**_COMMON, tie_word_embeddings=True),
    "gpt2": GPT2Config(
        vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=64, initializer_range=0.2,
        bos_token_id=1, eos_token_id=2,
    ),
    "qwen2": Qwen2Config(**_COMMON),
    "gemma2": Gemma2Config(
        **_COMMON, sliding_window=4, query_pre_attn_scalar=8, layer_types=_MIXED, final_logit_softcapping=3.0
    ),
    "gemma3": Gemma3TextConfig(
        **_COMMON, sliding_window=4, query_pre_attn_scalar=8, layer_types=_MIXED, final_logit_softcapping=3.0
    ),
}  # fmt: skip


def causal(kind: str = "llama", dtype: torch.dtype = torch.float64, seed: int = 0, vocabulary: int = VOCABULARY) -> Any:
    config = copy.deepcopy(CONFIGS[kind])
    config.vocab_size = vocabulary
    return from_config(config, seed=seed, dtype=dtype)


def tokens(
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    prompt_of: Sequence[int],
    learn: Sequence[Sequence[bool]] | None = None,
) -> Tokens:
    """Padded with what nobody may read: the largest token of the vocabulary."""

    def pad(rows: Sequence[Sequence[int]]) -> Tensor:
        width = max(map(len, rows))
        return torch.tensor([[*row, *[VOCABULARY - 1] * (width - len(row))] for row in rows])

    width = max(map(len, responses))
    learn = learn or [[True] * len(row) for row in responses]
    return Tokens(
        prompt_ids_PS=pad(prompts),
        prompt_len_P=torch.tensor([len(p) for p in prompts]),
        response_ids_BT=pad(responses),
        response_len_B=torch.tensor([len(r) for r in responses]),
        prompt_of_B=torch.tensor(prompt_of),
        loss_mask_BT=torch.tensor([[*row, *[False] * (width - len(row))] for row in learn]),
    )


def random_tokens(samples: Sequence[int], seed: int = 0, longest: int = 7, *, holes: bool = False) -> Tokens:
    """`samples[p]` responses to prompt p, all of random lengths; with `holes` some tokens are not learned from."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int, count: int) -> list[int]:
        return torch.randint(low, high, (count,), generator=generator).tolist()

    prompt_of = [p for p, count in enumerate(samples) for _ in range(count)]
    prompts = [draw(3, VOCABULARY, n) for n in draw(1, longest, len(samples))]
    responses = [draw(3, VOCABULARY, n) for n in draw(1, longest + 1, len(prompt_of))]
    learn = [[True, *(x > 0 for x in draw(0, 3, len(row) - 1))] if holes else [True] * len(row) for row in responses]
    return tokens(prompts, responses, prompt_of, learn)


def random_pairs(prompts: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Pairs:
    """Two rows a prompt, all sorts of targets, weights and margins; prompt 0 has four rows and three comparisons."""
    generator = torch.Generator().manual_seed(seed)
    samples = [4] + [2] * (prompts - 1)
    first = [0, 1, 3, *range(4, 2 * prompts + 2, 2)]
    second = [1, 2, 0, *range(5, 2 * prompts + 2, 2)]
    count = len(first)
    return Pairs(
        tokens=random_tokens(samples, seed),
        first_row_N=torch.tensor(first),
        second_row_N=torch.tensor(second),
        target_N3=torch.rand(count, 3, generator=generator, dtype=dtype).softmax(1),
        weight_N=torch.rand(count, generator=generator, dtype=dtype) * 3,
        margin_N=torch.rand(count, generator=generator, dtype=dtype),
    )


def random_rankings(sizes: Sequence[int] = (2, 4, 3, 4, 2), seed: int = 0) -> Rankings:
    """One prompt and one order for every size; short orders are padded with -1."""
    generator = torch.Generator().manual_seed(seed)
    orders, start = [], 0
    for size in sizes:
        order = (torch.randperm(size, generator=generator) + start).tolist()
        orders.append(order + [-1] * (max(sizes) - size))
        start += size
    return Rankings(tokens=random_tokens(sizes, seed), order_row_NK=torch.tensor(orders))


def random_turns(sizes: Sequence[int] = (2, 4, 3, 1, 3), seed: int = 0, dtype: torch.dtype = torch.float64) -> Turns:
    """One prompt and one offer for every size, short offers padded with -1; dialogues of two turns, the last of one
    where sizes are odd in number."""
    order_row_NK = random_rankings(sizes, seed).order_row_NK
    reward_N = torch.randn(len(sizes), generator=torch.Generator().manual_seed(seed), dtype=dtype)
    following = [n + 1 if n % 2 == 0 and n + 1 < len(sizes) else -1 for n in range(len(sizes))]
    return Turns(
        tokens=random_tokens(sizes, seed), offered_row_NK=order_row_NK, reward_N=reward_N,
        next_N=torch.tensor(following),
    )  # fmt: skip


def random_thumbs(samples: Sequence[int], seed: int = 0, dtype: torch.dtype = torch.float64) -> Thumbs:
    """`samples[p]` responses to prompt p, each as good as it happens to be."""
    generator = torch.Generator().manual_seed(seed)
    return Thumbs(
        tokens=random_tokens(samples, seed, holes=True),
        good_B=torch.rand(sum(samples), generator=generator, dtype=dtype),
        weight_B=torch.rand(sum(samples), generator=generator, dtype=dtype) * 3,
    )


def random_scored(samples: Sequence[int], seed: int = 0, dtype: torch.dtype = torch.float64) -> Scored:
    """`samples[p]` responses to prompt p, with scores around 0."""
    generator = torch.Generator().manual_seed(seed)
    return Scored(
        tokens=random_tokens(samples, seed, holes=True),
        score_B=torch.randn(sum(samples), generator=generator, dtype=dtype),
        weight_B=torch.rand(sum(samples), generator=generator, dtype=dtype) * 3,
    )


class AnyWords(dict[str, list[int]]):
    """Token ids of any text that a method puts beside prompts."""

    def __missing__(self, text: str) -> list[int]:
        return [3 + len(text) % 20, 4] if text else []


def rollout(tokens: Tokens, logp_BT: Tensor, seed: int = 0, **further: Any) -> Rollout:
    generator = torch.Generator().manual_seed(seed)
    reward_B = torch.randn(tokens.rows, generator=generator, dtype=logp_BT.dtype)
    return Rollout(
        tokens=tokens,
        logp_BT=logp_BT,
        reward_B=reward_B,
        ended_B=torch.rand(tokens.rows, generator=generator) > 0.5,
        parts={"score": reward_B},
        version=0,
        **further,
    )


@dataclass(frozen=True)
class Fixed:
    """Data that are the same at every step."""

    item: Any
    steps: int = 1

    def __call__(self, step: int) -> Any:
        return self.item

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


CHAT = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
CORPUS = [
    "the cat sat on the mat",
    "a dog ate the hat",
    "that cat and that dog",
    "hello there how are you",
    "user says",
]


def byte_pairs(*, bos: bool = True, eos: bool = True, chat: str | None = None) -> PreTrainedTokenizerFast:
    """A byte-level BPE, trained here, that merges across words' beginnings as GPT-2's does."""
    bpe = Tokenizers(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>", "<user>", "<assistant>", "<system>"]
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(CORPUS, trainer)
    names = ({"bos_token": "<s>"} if bos else {}) | ({"eos_token": "</s>"} if eos else {})
    made = PreTrainedTokenizerFast(tokenizer_object=bpe, **names)
    made.chat_template = chat
    return made


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def random_ratings(samples: Sequence[int], seed: int = 0, dtype: torch.dtype = torch.float64) -> Scored:
    """As `random_scored`, on a scale from 1 to 5."""
    scored = random_scored(samples, seed, dtype)
    return replace(scored, score_B=3 + scored.score_B.clamp(-2, 2))
