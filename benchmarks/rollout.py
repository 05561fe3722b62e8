"""The built-in rollout engine against `transformers.generate`: same weights, prompts and lengths, alternating runs.

    python benchmarks/rollout.py --json rollout.json [--model FOLDER] [--ends 1 13] [--threads 1] [--device cuda]

Without `--model`, random Llama weights of 15 M parameters with a vocabulary of 32,000 are used, and responses end at
one of a set of tokens chosen so that lengths look natural. `--ends` says what ends a natural response of a real model,
such as its EOS and its newline. Ours also returns log-probabilities; generate does not.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from tercih.rollout.engine import Engine
from tercih.rollout.sampling import Sampling


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One piece of work for both sides."""

    name: str
    prompts: int
    samples: int
    tokens: int
    natural: bool
    """Whether responses end by themselves; otherwise all are `tokens` long."""


CASES = (
    Case(name="one prompt", prompts=1, samples=1, tokens=64, natural=False),
    Case(name="equal lengths", prompts=64, samples=1, tokens=64, natural=False),
    Case(name="natural lengths, queue", prompts=256, samples=1, tokens=192, natural=True),
    Case(name="natural lengths, 8 samples a prompt", prompts=32, samples=8, tokens=192, natural=True),
)
BATCH = 64
MEAN = 60  # tokens of a natural response under random weights


def load(folder: str | None, ends: list[int] | None, device: str) -> tuple[PreTrainedModel, list[int]]:
    """A model, and the tokens that end a natural response."""
    torch.manual_seed(0)
    if folder is not None:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        eos = model.config.eos_token_id
        ends = ends or (eos if isinstance(eos, list) else [eos])
    else:
        config = LlamaConfig(
            vocab_size=32_000, hidden_size=288, intermediate_size=768, num_hidden_layers=6, num_attention_heads=6,
            num_key_value_heads=6, max_position_embeddings=512, tie_word_embeddings=True,
        )  # fmt: skip
        model = AutoModelForCausalLM.from_config(config)
        ends = ends or list(range(config.vocab_size // MEAN))
    return model.to(device).eval(), ends


def prompts_of(model: PreTrainedModel, count: int, ends: Sequence[int]) -> list[list[int]]:
    """Prompts of 4 to 32 tokens: the model's own beginnings, so that what follows is as it was trained."""
    engine = Engine(model, eos_ids=[])
    bos = model.config.bos_token_id or 1
    drawn = engine.generate([[bos]] * count, Sampling(max_new_tokens=31), seed=0).response_ids_BT.tolist()
    lengths = torch.randint(3, 32, (count,), generator=torch.Generator().manual_seed(0)).tolist()
    return [[bos, *(t for t in ids[:n] if t not in ends)] for ids, n in zip(drawn, lengths, strict=True)]


def ours(engine: Engine, prompts: list[list[int]], case: Case, seed: int) -> int:
    sampling = Sampling(max_new_tokens=case.tokens, ignore_eos=not case.natural)
    return engine.generate(prompts, sampling, samples=case.samples, seed=seed).stats.tokens


def peers(model: PreTrainedModel, prompts: list[list[int]], case: Case, ends: list[int], seed: int) -> int:
    """Tokens that `generate` made, batch after batch; those after a response's end are not counted."""
    torch.manual_seed(seed)
    total, size = 0, BATCH // case.samples
    eos = torch.tensor(ends, device=model.device)
    for i in range(0, len(prompts), size):
        part = prompts[i : i + size]
        width = max(map(len, part))
        ids = torch.tensor([[0] * (width - len(p)) + p for p in part], device=model.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in part], device=model.device)
        out = model.generate(
            input_ids=ids, attention_mask=mask, do_sample=True, top_k=0, top_p=1.0, temperature=1.0, pad_token_id=0,
            max_new_tokens=case.tokens, eos_token_id=ends if case.natural else None,
            num_return_sequences=case.samples,
        )[:, width:]  # fmt: skip
        if case.natural:
            over = torch.isin(out, eos)
            total += int(torch.where(over.any(1), over.int().argmax(1) + 1, out.shape[1]).sum())
        else:
            total += out.numel()
    return total


def rate(work: Callable[[], int], device: str) -> float:
    """Tokens per second."""
    begin = time.perf_counter()
    tokens = work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return tokens / (time.perf_counter() - begin)


def compare(model: PreTrainedModel, ends: list[int], case: Case, rounds: int) -> dict[str, object]:
    prompts, device = prompts_of(model, case.prompts, ends), model.device.type
    engine = Engine(model, eos_ids=ends, max_batch=BATCH)
    stats = engine.generate(
        prompts, Sampling(max_new_tokens=case.tokens, ignore_eos=not case.natural), samples=case.samples, seed=0
    ).stats
    pairs = [
        (
            rate(lambda s=seed: ours(engine, prompts, case, s), device),
            rate(lambda s=seed: peers(model, prompts, case, ends, s), device),
        )
        for seed in range(rounds)
    ]
    ratios = [a / b for a, b in pairs]
    return {
        "case": case.name,
        "mean_length": stats.tokens / (case.prompts * case.samples),
        "mean_rows": stats.mean_rows,
        "ours_tokens_per_s": statistics.median(a for a, _ in pairs),
        "generate_tokens_per_s": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--model", help="folder of a Hugging Face model")
    parser.add_argument("--ends", type=int, nargs="+", help="tokens that end a natural response")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads of both sides")
    parser.add_argument("--rounds", type=int, default=5, help="alternating runs of each side")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(args.threads)
    model, ends = load(args.model, args.ends, args.device)
    rows = []
    for case in CASES:
        row = compare(model, ends, case, args.rounds)
        rows.append(row)
        print(
            f"{row['case']}: ours {row['ours_tokens_per_s']:,.0f} tok/s, generate {row['generate_tokens_per_s']:,.0f}; "
            f"ratio {row['ratio']:.2f} [{row['ratio_min']:.2f}, {row['ratio_max']:.2f}] over {args.rounds} rounds; "
            f"mean length {row['mean_length']:.0f}, mean rows {row['mean_rows']:.1f}",
            flush=True,
        )
    if args.json is not None:
        meta = {"model": args.model, "device": args.device, "threads": torch.get_num_threads(), "batch": BATCH}
        args.json.write_text(json.dumps(meta | {"torch": torch.__version__, "cases": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
