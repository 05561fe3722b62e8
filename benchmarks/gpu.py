"""On a GPU, without a network: is ours right there, and how near is it to what the machine can do?

    benchmarks/gpu.sh [--json gpu.json] [--shape llama-135m qwen-0.5b] [--only correctness learner] [--peers .peers]
    benchmarks/gpu.sh --device cpu --tiny     # tries the script itself out, where there is no GPU

1. correctness: log-probabilities, entropies, gradients, sampling and training steps against float64 on the processor.
2. limits: operations a second of bfloat16 matrix products, bytes a second of a copy.
3. rollout, learner, step: times of random models in bfloat16, beside the limits, `transformers.generate`, and TRL's
   GRPO (1.16) where `peers.sh` made its environment or this Python has it.

All of it goes into one JSON file, which is written again after every part. The exit status is 1 where a bound of
correctness does not hold or a part failed; a target that is missed is only said.
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from harness.bench import TRL, line
from harness.models import SHAPES
from on_gpu import checks, speed
from on_gpu.targets import targets

from tercih.profiling.limits import measure

PARTS = ("correctness", "rollout", "learner", "step")


def main(words: list[str] | None = None) -> int:
    options = _options(words)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print(f"torch {torch.__version__} sees no GPU: run this on a machine that has one, or with --device cpu --tiny")
        return 2
    found: dict[str, Any] = {"about": _about(device, options), "failed": [], "limits": None, "targets": []}
    found |= {part: [] for part in PARTS}

    def attempt(part: str, work: Callable[[], None]) -> None:
        """A part that breaks costs no other part its numbers."""
        try:
            work()
        except (Exception, SystemExit) as error:  # whatever it is, it is told and fails the run
            traceback.print_exc()
            found["failed"].append(f"{part}: {type(error).__name__}: {error}")
        found["targets"] = _targets(found, device, options)
        options.json.write_text(json.dumps(found, indent=1) + "\n")

    if "correctness" in options.only:
        attempt("correctness", lambda: _check(found, device))
    if {"rollout", "learner", "step"} & set(options.only):
        attempt("limits", lambda: _speed(found, device, options, attempt))
    for target in found["targets"]:
        print(f"{target['name']}: {target['value']} (target {target['target']}), reached: {target['reached']}")
    for failure in found["failed"]:
        print(f"FAILED {failure}")
    print(f"wrote {options.json}")
    return int(bool(found["failed"]))


def _options(words: list[str] | None) -> Namespace:
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(
        prog="benchmarks/gpu.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), help="file for the results")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--tiny", action="store_true", help="a tiny shape and a few tokens: says nothing about speed")
    parser.add_argument("--shape", nargs="+", default=["llama-135m", "qwen-0.5b"], choices=list(SHAPES))
    parser.add_argument("--only", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--rounds", type=int, default=5, help="repetitions of either side, in turn")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="CPU threads of either side")
    parser.add_argument("--peers", type=Path, default=here.parent / ".peers", help="the folder that peers.sh made")
    options = parser.parse_args(words)
    if options.tiny:
        options.shape, options.rounds = ["llama-tiny"], 1
    return options


def _check(found: dict[str, Any], device: torch.device) -> None:
    for row in checks.rows(device):
        error = row.error if math.isfinite(row.error) else str(row.error)  # JSON has no NaN
        found["correctness"].append(asdict(row) | {"error": error, "passed": row.passed})
        print(
            f"{'ok  ' if row.passed else 'FAIL'} {row.precision} {row.model} {row.check}: {row.error:.2g}, at most"
            f" {row.bound:.2g} ({row.why})",
            flush=True,
        )
        if not row.passed:
            found["failed"].append(
                f"correctness: {row.precision} {row.model} {row.check} is off by {row.error:.3g}, more than"
                f" {row.bound:.3g}"
            )


def _speed(
    found: dict[str, Any],
    device: torch.device,
    options: Namespace,
    attempt: Callable[[str, Callable[[], None]], None],
) -> None:
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    limits = measure(device, dtype)
    found["limits"] = asdict(limits)
    print(f"limits: {limits.operations / 1e12:.3g} T operations/s in {limits.dtype}, {limits.bandwidth / 1e9:.4g} GB/s")
    place = speed.Place(
        device=device, dtype=dtype, limits=limits, sizes=speed.TINY if options.tiny else speed.Sizes(), options=options
    )

    def rollouts(shape: str) -> None:
        for row in speed.rollouts(shape, place):
            found["rollout"].append(row)
            share = f", {row['share_of_bandwidth']:.1%} of the bandwidth" if "share_of_bandwidth" in row else ""
            print(f"{line(row)}\n    {row['ours_tokens_per_second']:.0f} tokens/s{share}", flush=True)

    def learner(shape: str) -> None:
        for row in speed.learner(shape, place):
            found["learner"].append(row)
            print(
                f"learner, {row['work']}, {shape}: {row['seconds']:.4f} s, {row['share_of_matrix_peak']:.1%} of the"
                f" matrix peak, {row['peak_MiB']:.0f} MiB at most",
                flush=True,
            )

    def step(shape: str) -> None:
        row = speed.step(shape, place)
        found["step"].append(row)
        held = row["ours_MiB"] + row["ours_held_MiB"]
        alone = f"grpo, {shape}, without a peer: {row['ours_s']:.3f} s, {held:.0f} MiB at most"
        print(line(row) if row["peer"] else alone, flush=True)

    parts = {"rollout": rollouts, "learner": learner, "step": step}
    for shape in options.shape:
        for part, work in parts.items():
            if part in options.only:
                attempt(f"{part}, {shape}", lambda work=work, shape=shape: work(shape))  # type: ignore[misc]


def _targets(found: dict[str, Any], device: torch.device, options: Namespace) -> list[dict[str, Any]]:
    absent = ""
    if device.type != "cuda":
        absent = "this ran on the CPU; the target is for a GPU"
    elif options.tiny:
        absent = "a tiny shape says nothing about speed"
    return targets(found, options.shape, absent=absent, peer=speed.trl(options) is not None)


def _about(device: torch.device, options: Namespace) -> dict[str, Any]:
    about: dict[str, Any] = {
        "device": device.type, "name": platform.processor() or platform.machine(), "cores": os.cpu_count(),
        "threads": options.threads, "python": platform.python_version(), "torch": torch.__version__,
        "cuda": torch.version.cuda, "transformers": version("transformers"), "trl": _trl(options),
        "command": sys.argv[1:],
    }  # fmt: skip
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        about |= {
            "name": card.name, "memory_MiB": card.total_memory // 2**20, "processors": card.multi_processor_count,
            "capability": f"{card.major}.{card.minor}",
        }  # fmt: skip
    return about


def _trl(options: Namespace) -> str | None:
    """Its version, wherever it is; None where it is nowhere."""
    python = options.peers / TRL.environment / "bin" / "python"
    if python.exists():
        ask = "from importlib.metadata import version; print(version('trl'))"
        return subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()
    try:
        return version("trl")
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
