"""What the tests of the command line share: a tiny model on disk, small hand-written data, and a fast way to run it."""

import contextlib
import io
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import tokenizers
import torch
from tokenizers import models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from tercih import cli

CONTEXT = 64
WORDS = ("<s>", "</s>", "?", *"abcdefghijklmnopqrstuvwxyz", "what", "is", "it", "good", "bad", "yes", "no")
CHAT = (
    "{% for m in messages %}{{ m.role }} {{ m.content }} {% if m.role == 'assistant' %}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}assistant {% endif %}"
)

LETTERS = "abcdefgh"
DATA: Mapping[str, list[dict[str, Any]]] = {
    "pairs": [{"prompt": f"what is {x}", "chosen": f" good {x}", "rejected": f" bad {x} bad"} for x in LETTERS],
    "demonstrations": [{"prompt": f"what is {x}", "completion": f" good {x} yes"} for x in LETTERS],
    "rankings": [
        {"prompt": f"what is {x}", "completions": [" bad", f" good {x}", " no no"], "order": [1, 0, 2]} for x in LETTERS
    ],
    "thumbs": [
        {"prompt": f"what is {x}", "completion": completion, "label": good}
        for x in LETTERS
        for completion, good in ((f" good {x}", True), (" bad", False))
    ],
    "rules": [
        {"prompt": f"what is {x}", "completion": completion, "rule": rule, "broken": rule.split()[1] in completion}
        for x in LETTERS
        for completion in (f" good {x}", " bad")
        for rule in ("no good", "no bad")
    ],
    "scored": [
        {"prompt": f"what is {x}", "completion": completion, "score": score}
        for x in LETTERS
        for completion, score in ((f" good {x}", 1.5), (" bad", -0.5))
    ],
    "prompts": [{"prompt": f"what is {x}", "wanted": x} for x in LETTERS],
    "messages": [
        {"messages": [{"role": "user", "content": f"what is {x}"}, {"role": "assistant", "content": f"good {x}"}]}
        for x in LETTERS
    ],
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a command left behind: its exit status and what it printed where."""

    status: int
    out: str
    err: str


def tercih(*arguments: object) -> Outcome:
    """Run the real command line in this process: importing torch costs seconds in a new one."""
    out, err = io.StringIO(), io.StringIO()
    status = 0
    with (
        mock.patch.object(sys, "argv", ["tercih", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
            if isinstance(end.code, str):
                err.write(end.code)
    return Outcome(status=status, out=out.getvalue(), err=err.getvalue())


def tokenizer(**special: str | None) -> PreTrainedTokenizerFast:
    """One token a word; `special` overrides the tokens' names, None leaves one out."""
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    words = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "?", **special}
    return PreTrainedTokenizerFast(tokenizer_object=words, **{k: v for k, v in names.items() if v is not None})


def write_model(
    folder: Path, *, chat: bool = False, vocabulary: int = len(WORDS), context: int = CONTEXT, **special: str | None
) -> Path:
    """A Hugging Face folder: a thin Llama of random weights whose answers end after a few words, and its tokenizer."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=context,
        initializer_range=0.1,
        bos_token_id=0,
        eos_token_id=1,
    )
    torch.manual_seed(0)
    causal = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():  # one dimension says nothing but "end here", so that answers have a few words
        causal.model.embed_tokens.weight[:, 0] = 2.0
        causal.lm_head.weight[1, 0] = 0.7
    causal.save_pretrained(folder)
    words = tokenizer(**special)
    if chat:
        words.chat_template = CHAT
    words.save_pretrained(folder)
    return folder


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
