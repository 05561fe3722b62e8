"""Times and memory on a device: sampling beside `transformers.generate`, learning beside the matrix peak, and the whole
step beside TRL's."""

import importlib.util
import statistics
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import policy_gradient
import torch
from harness import bench, memory
from harness.bench import GENERATE, OURS, TRL, MiB, Peer, Work
from harness.models import SHAPES, beginnings, prepared
from harness.texts import spread

from on_gpu.counts import bytes_read, operations, weights_of
from tercih.algorithms.grpo import GRPO
from tercih.algorithms.sft import SFT
from tercih.batches import Batch, Compared
from tercih.data.tokenize import Tokenizer
from tercih.method import Method
from tercih.models.language_model import LanguageModel
from tercih.models.load import from_config
from tercih.profiling.limits import Limits
from tercih.tokens import Tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """`batch` answers run at a time, of `answer` tokens to prompts of `prompt`, or of `mean` on average where they end
    by themselves; `rows` of `row` tokens are imitated; `group` answers to each of `prompts` are compared."""

    batch: int = 64
    prompt: int = 64
    answer: int = 256
    mean: int = 85
    queue: int = 256
    rows: int = 16
    row: int = 512
    prompts: int = 8
    group: int = 8


TINY = Sizes(batch=4, prompt=6, answer=8, mean=4, queue=8, rows=2, row=16, prompts=2, group=2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where, in which precision, and what can be done there at most."""

    device: torch.device
    dtype: torch.dtype
    limits: Limits
    sizes: Sizes
    options: Namespace  # of harness/bench.py: threads, rounds, peers

    @property
    def precision(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    def case(self) -> dict[str, str]:
        return {"device": self.device.type, "dtype": self.precision}


def rollouts(shape: str, place: Place) -> list[dict[str, Any]]:
    """Answers of one length; and answers that end by themselves, a queue longer than the batch."""
    sizes, rows = place.sizes, []
    for natural in (False, True):
        mean = sizes.mean if natural else None
        with prepared(shape, mean_length=mean, natural_end=None, dtype=place.dtype) as folder:
            tokenizer = Tokenizer.load(folder.path)
            lengths = [sizes.prompt - 1] * (sizes.queue if natural else sizes.batch)  # BOS comes to it
            ids = [list(tokenizer.prompt(text)) for text in beginnings(folder, lengths)]
            work = Work(
                benchmark="rollout", name="natural lengths" if natural else "equal lengths", model=shape,
                case={
                    "kind": "rollout", "model": str(folder.path), "ids": ids, "samples": 1,
                    "max_new_tokens": sizes.answer, "batch": sizes.batch, "ends": [tokenizer.eos], **place.case(),
                },
                peer=GENERATE, about={"longest": sizes.answer, "batch": sizes.batch},
            )  # fmt: skip
            row = bench.measure(work, place.options)
        row["ours_tokens_per_second"] = row["ours_length"] * len(ids) / row["ours_s"]
        row["peer_tokens_per_second"] = row["peer_length"] * len(ids) / row["peer_s"]
        if not natural:
            size = torch.finfo(place.dtype).bits // 8
            needed = bytes_read(weights_of(SHAPES[shape]), [len(p) for p in ids], sizes.answer, size=size)
            row["bytes"] = needed
            row["share_of_bandwidth"] = needed / row["ours_s"] / place.limits.bandwidth
        rows.append(row)
    return rows


def learner(shape: str, place: Place) -> list[dict[str, Any]]:
    """A forward and a backward pass of SFT and of GRPO on rows of one length, without the optimiser."""
    sizes, device = place.sizes, place.device
    causal = from_config(SHAPES[shape], seed=0, dtype=place.dtype).to(device)
    policy, weights = LanguageModel(causal).train(), weights_of(SHAPES[shape])
    vocabulary, short = SHAPES[shape].vocab_size, sizes.row // 4
    imitated = Batch(tokens=_tokens([1] * sizes.rows, [[sizes.row - 1]] * sizes.rows, vocabulary))
    grouped = _tokens([short] * sizes.prompts, [[short] * sizes.group] * sizes.prompts, vocabulary)
    with torch.no_grad():
        compared = Compared(
            tokens=grouped,
            old_logp_BT=policy(grouped.to(device)).logp_BT.cpu(),
            advantage_B=torch.randn(grouped.rows, generator=torch.Generator().manual_seed(0)),
        )
    works: list[tuple[str, Method, Batch]] = [
        ("sft", SFT(), imitated), ("policy gradient, prompts shared", GRPO(kl_coef=0.0), compared),
    ]  # fmt: skip
    rows = []
    for name, method, batch in works:
        prompts, answers = _lengths(batch.tokens)
        needed, tokens = operations(weights, prompts, answers), sum(prompts) + sum(map(sum, answers))
        on_device = batch.to(device)

        def work(method: Method = method, batch: Batch = on_device) -> None:
            policy.zero_grad(set_to_none=True)
            loss = method.loss(policy, batch)
            torch.stack([term.sum / batch.tokens.rows for term in loss.terms.values()]).sum().backward()  # type: ignore[no-untyped-call]

        seconds, peak = _timed(work, place)
        rows.append({
            "work": name, "model": shape, "rows": batch.tokens.rows, "tokens": tokens,
            "seconds": seconds, "tokens_per_second": tokens / seconds,
            "operations": needed, "share_of_matrix_peak": needed / seconds / place.limits.operations,
            "peak_MiB": peak / MiB,
        })  # fmt: skip
    return rows


def step(shape: str, place: Place) -> dict[str, Any]:
    """A whole step of GRPO: sample, score, update; beside TRL's where there is one, else alone."""
    sizes, peer = place.sizes, trl(place.options)
    with prepared(shape, mean_length=sizes.mean, natural_end=None, dtype=place.dtype) as folder:
        prompts = beginnings(folder, spread(sizes.prompts, 4, max(4, sizes.prompt), seed=0))
        work = policy_gradient.work(folder, "grpo", "grpo", prompts, 0.0, natural=True)
        asked = {
            "samples": sizes.group, "batch": sizes.prompts * sizes.group, "max_new_tokens": sizes.answer, **place.case()
        }  # fmt: skip
        work = replace(work, case={**work.case, **asked}, about={"longest": sizes.answer})
        if peer is None:
            return _alone(work, place)
        row = bench.measure(replace(work, peer=peer), place.options)
    row["peak_ratio"] = (row["ours_MiB"] + row["ours_held_MiB"]) / (row["peer_MiB"] + row["peer_held_MiB"])
    return row


def trl(options: Namespace) -> Peer | None:
    """TRL in the environment that `peers.sh` made, or in this Python."""
    if (options.peers / TRL.environment / "bin" / "python").exists():
        return TRL
    if importlib.util.find_spec("trl") is not None:
        return replace(TRL, environment="", name="trl of this Python")
    return None


def _alone(work: Work, place: Place) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="tercih-benchmark-") as folder:
        case = {**work.case, "threads": place.options.threads}
        with bench.open_side(OURS, Path(folder) / "ours.json", case, place.options) as ours:
            done = [ours.go() for _ in range(1 + place.options.rounds)][1:]
            held = ours.opened["memory"]
    return {
        "benchmark": work.benchmark, "case": work.name, "model": work.model, "peer": None, "rounds": len(done),
        "ours_s": statistics.median(x["seconds"] for x in done), "ours_held_MiB": held / MiB,
        "ours_MiB": (max(x["peak"] for x in done) - held) / MiB,
        "ours_length": statistics.mean(x["response_length"] for x in done),
    }  # fmt: skip


def _timed(work: Callable[[], None], place: Place) -> tuple[float, int]:
    """The median of some rounds after two more, and the most memory held in one of them, in bytes."""
    meter: Any = import_module("harness.device") if place.device.type == "cuda" else memory
    seconds, peak = [], 0
    for number in range(2 + place.options.rounds):
        meter.forget_peak()
        meter.wait()
        began = time.perf_counter()
        work()
        meter.wait()
        if number >= 2:
            seconds.append(time.perf_counter() - began)
            peak = max(peak, meter.peak())
    return statistics.median(seconds), peak


def _tokens(prompts: Sequence[int], answers: Sequence[Sequence[int]], vocabulary: int) -> Tokens:
    """Random tokens of these lengths, all answers alike long."""
    dice, rows = torch.Generator().manual_seed(0), [p for p, each in enumerate(answers) for _ in each]
    lengths = [n for each in answers for n in each]
    return Tokens(
        prompt_ids_PS=torch.randint(3, vocabulary, (len(prompts), max(prompts)), generator=dice),
        prompt_len_P=torch.tensor(prompts),
        response_ids_BT=torch.randint(3, vocabulary, (len(rows), max(lengths)), generator=dice),
        response_len_B=torch.tensor(lengths),
        prompt_of_B=torch.tensor(rows),
        loss_mask_BT=torch.arange(max(lengths)) < torch.tensor(lengths)[:, None],
    )


def _lengths(tokens: Tokens) -> tuple[list[int], list[list[int]]]:
    answers: list[list[int]] = [[] for _ in range(tokens.prompts)]
    for prompt, length in zip(tokens.prompt_of_B.tolist(), tokens.response_len_B.tolist(), strict=True):
        answers[prompt].append(length)
    return tokens.prompt_len_P.tolist(), answers
