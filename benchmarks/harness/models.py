"""Models that both sides read from one folder: a given one, or a shape with random weights from a fixed seed."""

import json
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

import tercih.data.tokenize
from tercih.models.reward_model import RewardModel
from tercih.rollout.engine import Engine
from tercih.rollout.sampling import Sampling

PAD, BOS, EOS = 0, 1, 2
_IDS = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS, "max_position_embeddings": 1024}
_135M = {
    "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
    "num_key_value_heads": 3, "tie_word_embeddings": True,
}  # fmt: skip
_HALF_B = {
    "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
    "num_key_value_heads": 2, "tie_word_embeddings": True,
}  # fmt: skip

SHAPES = {
    "llama-tiny": LlamaConfig(
        **_IDS, vocab_size=600, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True,
    ),
    "llama-15m": LlamaConfig(
        **_IDS, vocab_size=32_000, hidden_size=288, intermediate_size=768, num_hidden_layers=6, num_attention_heads=6,
        num_key_value_heads=6, tie_word_embeddings=True,
    ),
    "llama-135m": LlamaConfig(**_IDS, **_135M, vocab_size=49_152),
    "qwen-135m": Qwen2Config(**_IDS, **_135M, vocab_size=50_000),
    "llama-0.5b": LlamaConfig(**_IDS, **_HALF_B, vocab_size=128_256),
    "qwen-0.5b": Qwen2Config(**_IDS, **_HALF_B, vocab_size=151_936),
}  # fmt: skip
NEVER = 1e12  # tokens until the end of a response, where it should not end by itself
LONG = 20.0  # of the coordinate that holds the end token's bias


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """A model that both sides read, and how much work it is given."""

    name: str
    path: Path
    parameters: int
    vocabulary: int


@contextmanager
def prepared(
    given: str, *, mean_length: float | None, natural_end: str | None, dtype: torch.dtype = torch.float32
) -> Iterator[Folder]:
    """A copy of the folder `given`, or the shape of that name with weights of this `dtype`, in a place of its own.

    `mean_length` is how many tokens a response of a random model has until it ends by itself; None: it never does.
    A given folder's responses end at the token `natural_end` or, if that is None, at its EOS; with `mean_length` None
    they end at "</s>", which a model that ends elsewhere does not say.
    """
    with TemporaryDirectory(prefix="tercih-benchmark-") as place:
        path = Path(place) / "model"
        if given in SHAPES:
            _random(SHAPES[given], path, NEVER if mean_length is None else mean_length, dtype)
        elif (Path(given) / "config.json").exists():
            _copy(Path(given), path, "</s>" if mean_length is None else natural_end)
        else:
            raise SystemExit(f"--model {given}: neither a model folder nor one of {', '.join(SHAPES)}")
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        parameters = sum(p.numel() for p in model.parameters())
        yield Folder(
            name=Path(given).name,
            path=path,
            parameters=parameters,
            vocabulary=model.get_input_embeddings().num_embeddings,
        )


def add_scorer(folder: Folder) -> Path:
    """The same trunk as a sequence classifier, with the head that our reward model begins with."""
    place = folder.path.parent / "scorer"
    scorer = AutoModelForSequenceClassification.from_pretrained(folder.path, num_labels=1, dtype=torch.float32)
    scorer.config.pad_token_id = AutoTokenizer.from_pretrained(folder.path).pad_token_id
    ours = RewardModel(AutoModelForCausalLM.from_pretrained(folder.path, dtype=torch.float32))
    scorer.score.weight.data = ours.score_head.weight.data
    scorer.save_pretrained(place)
    AutoTokenizer.from_pretrained(folder.path).save_pretrained(place)
    return place


def words(folder: Path) -> list[str]:
    """Words that are one token each, also side by side: a text of n of them has n tokens."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    candidates = [t.removeprefix("▁") for t in tokenizer.get_vocab() if t.startswith(("▁", "w")) and len(t) > 1]
    found = sorted(w for w in candidates if w.isalnum() and _single(tokenizer, w))
    if not found:  # transformers gives Qwen a tokenizer class of its own, which does not read ours
        raise SystemExit(f"{folder}: its tokenizer has no words of one token; llama-135m has")
    together = found[:1000]
    if len(tokenizer.encode(" ".join(together), add_special_tokens=False)) != len(together):
        raise SystemExit(f"{folder}: its tokenizer joins words, so that no text of a known length can be made")
    return found


def _single(tokenizer: Any, word: str) -> bool:
    ids = tokenizer.encode(f"{word} {word}", add_special_tokens=False)
    return len(ids) == 2 and ids[0] == ids[1] != tokenizer.unk_token_id


def _random(config: Any, path: Path, mean_length: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    _end_at_random(model, mean_length)
    model.to(dtype).save_pretrained(path)
    _tokenizer(config.vocab_size).save_pretrained(path)


@torch.no_grad()
def _end_at_random(model: Any, mean_length: float) -> None:
    """Give the end token the probability 1/mean_length wherever it may come, and padding none.

    The first coordinate of the residual stream is made the same long constant for every token, so that what the output
    embedding adds there is a bias. (Causal heads of these shapes have none.)
    """
    embedding = model.get_input_embeddings().weight
    embedding[:, 0] = LONG * embedding.std()
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight[0] = 0
        layer.mlp.down_proj.weight[0] = 0
    ids = torch.randint(EOS + 1, len(embedding), (4, 64), generator=torch.Generator().manual_seed(0))
    hidden = model.model(input_ids=ids).last_hidden_state.flatten(0, 1)
    per_unit = float(hidden[:, 0].mean())
    others = float((hidden @ embedding.T).logsumexp(-1).mean()) - math.log(len(embedding))
    wanted = math.log(len(embedding)) - math.log(mean_length) + others
    at_end = float((hidden @ embedding[EOS]).mean())
    embedding[EOS, 0] += (wanted - at_end) / per_unit
    embedding[PAD, 0] -= 30 / per_unit


def _tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """Words w3, w4, … of one token each."""
    names = ["<unk>", "<s>", "</s>", *(f"w{i}" for i in range(3, vocabulary))]
    plain = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    plain.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BOS)])
    return PreTrainedTokenizerFast(
        tokenizer_object=plain, unk_token="<unk>", pad_token="<unk>", bos_token="<s>", eos_token="</s>",
        padding_side="left",
    )  # fmt: skip


def _copy(given: Path, path: Path, end: str | None) -> None:
    shutil.copytree(given, path)
    for file in path.iterdir():
        file.chmod(0o644)
    path.chmod(0o755)
    if end is None:
        return
    end_id = AutoTokenizer.from_pretrained(path).convert_tokens_to_ids(end)
    for name, key, value in (
        ("config.json", "eos_token_id", end_id),
        ("generation_config.json", "eos_token_id", end_id),
        ("tokenizer_config.json", "eos_token", end),
    ):
        file = path / name
        if file.exists():
            file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))


def beginnings(folder: Folder, lengths: Sequence[int]) -> list[str]:
    """Prompts: what a trained model begins with by itself, or words for a random one."""
    if folder.name in SHAPES:
        known = words(folder.path)
        dice = torch.Generator().manual_seed(1)
        return [" ".join(known[i] for i in torch.randint(len(known), (n,), generator=dice)) for n in lengths]
    model = AutoModelForCausalLM.from_pretrained(folder.path, dtype=torch.float32)
    tokenizer = tercih.data.tokenize.Tokenizer.load(folder.path)
    start = [[BOS if tokenizer.bos is None else tokenizer.bos]]
    sampling = Sampling(max_new_tokens=max(lengths))
    drawn = Engine(model, eos_ids=[tokenizer.eos]).generate(start * len(lengths), sampling, seed=0).response_ids_BT
    kept = [[t for t in ids[:n] if t != tokenizer.eos] for ids, n in zip(drawn.tolist(), lengths, strict=True)]
    return [tokenizer.decode(ids).strip() or "One" for ids in kept]


transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
