"""Whether a real vLLM server keeps the contract that the tests hold with a stand-in: on a GPU, with vLLM 0.33, offline.

    python benchmarks/vllm_check.py --json vllm.json [--model FOLDER] [--vllm PATH_OF_THE_COMMAND] [--share 0.4]

It starts `vllm serve` on a random Llama (or `--model`), lets it answer, changes the policy and syncs, compares
log-probabilities with the learner's, lets another run take the server away, stops it (SIGSTOP) and kills it. The exit
status is 1 where a check fails; the JSON holds every number either way.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import torch
from transformers import LlamaConfig

from tercih.data.tokenize import Tokenizer
from tercih.models.language_model import LanguageModel
from tercih.models.load import from_config, load_policy, save_model
from tercih.rollout.engine import Engine, Generated
from tercih.rollout.mismatch import Correction, mismatch
from tercih.rollout.sampler import to_tokens
from tercih.rollout.sampling import Sampling
from tercih.rollout.vllm import StaleAnswer, VLLMEngine
from tercih.rollout.wire import EngineError, Wire

TEMPERATURE = 0.8
GAP = 0.05  # nats: the largest mean |log π − log μ| of two programs in bfloat16
PATIENCE = 5.0  # seconds that a stopped server is waited for
STARTING = 600  # seconds


def random_model(folder: Path) -> Path:
    """A Llama of some 85 M parameters in bfloat16, with the tokenizer that ships."""
    tokenizer = Tokenizer.load(str(resources.files("tercih") / "assets" / "base"))
    config = LlamaConfig(
        vocab_size=len(tokenizer.hf), hidden_size=768, intermediate_size=2048, num_hidden_layers=12,
        num_attention_heads=12, num_key_value_heads=12, max_position_embeddings=1024, tie_word_embeddings=True,
        bos_token_id=tokenizer.bos, eos_token_id=tokenizer.eos, pad_token_id=tokenizer.eos,
    )  # fmt: skip
    model = LanguageModel(from_config(config, seed=0, dtype=torch.bfloat16), temperature=TEMPERATURE)
    return save_model(model, tokenizer.hf, folder)


@contextmanager
def served(command: str, model: Path, port: int, share: float, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    words = [
        command, "serve", str(model), "--host", "127.0.0.1", "--port", str(port), "--served-model-name", "policy",
        "--logprobs-mode", "processed_logprobs", "--generation-config", "vllm", "--gpu-memory-utilization", str(share),
    ]  # fmt: skip
    environment = os.environ | {"VLLM_SERVER_DEV_MODE": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("wb") as file:
        process = subprocess.Popen(words, env=environment, stdout=file, stderr=file, start_new_session=True)
    try:
        _wait(process, f"http://127.0.0.1:{port}/health", log)
        yield process
    finally:
        _signal(process, signal.SIGKILL)
        process.wait()


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + STARTING
    while time.monotonic() < deadline:
        try:
            with urlopen(address, timeout=5):
                return
        except (URLError, OSError):
            if process.poll() is not None:
                break
            time.sleep(2)
    raise SystemExit(f"vLLM did not start; the end of its log:\n{log.read_text(errors='replace')[-3000:]}")


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    """To the server and the processes it started."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


class Report:
    def __init__(self) -> None:
        self.rows: dict[str, Any] = {}
        self.failed: list[str] = []

    def note(self, name: str, value: Any, good: bool = True) -> None:
        self.rows[name] = {"value": value, "good": good}
        self.failed += [] if good else [name]
        print(f"{'ok  ' if good else 'FAIL'} {name}: {value}", flush=True)

    def ends(self, name: str, work: Callable[[], Any], kind: type[Exception], within: float) -> None:
        """`work` must end with this error in this time."""
        began = time.monotonic()
        try:
            work()
            said = "it went through"
            good = False
        except kind as error:
            said, good = f"{type(error).__name__}: {error}", time.monotonic() - began < within
        self.note(name, f"{said} ({time.monotonic() - began:.1f} s)", good)


def compare(report: Report, name: str, policy: LanguageModel, made: Generated, prompts: list[list[int]]) -> None:
    tokens = to_tokens(made, prompts)
    with torch.no_grad():
        logp_BT = policy(tokens).logp_BT
    for key, (total, count) in mismatch(logp_BT, made.logp_BT, tokens.loss_mask_BT, Correction()).items():
        value = float(total / count)
        report.note(f"{name} {key}", value, good=key != "engine/gap" or value < GAP)


def check(report: Report, folder: Path, process: subprocess.Popen[bytes], url: str) -> None:
    policy, tokenizer = load_policy(folder), Tokenizer.load(folder)
    prompts = [[tokenizer.bos or 0, *range(10, 20 + p % 13)] for p in range(64)]
    sampling = Sampling(max_new_tokens=min(256, policy.context // 2), temperature=policy.temperature)
    engine = VLLMEngine(policy, Wire(url=url, timeout=300), eos_ids={tokenizer.eos})
    for version in (0, 1):
        began = time.monotonic()
        engine.sync(version)
        report.note(f"sync {version}, seconds", time.monotonic() - began)
        began = time.monotonic()
        made = engine.generate(prompts, sampling, samples=4, seed=version)
        seconds = time.monotonic() - began
        report.note(f"version {version}", made.version, made.version == version)
        report.note(f"tokens per second {version}", made.stats.tokens / seconds)
        compare(report, f"weights {version}:", policy, made, prompts)
        if version == 0:
            with torch.no_grad():  # another policy altogether
                for parameter in policy.causal.parameters():
                    parameter.add_(torch.randn_like(parameter) * 0.05)
    began = time.monotonic()
    own = Engine(policy.causal, eos_ids={tokenizer.eos}, max_batch=256).generate(prompts, sampling, samples=4, seed=1)
    report.note("tokens per second, built-in", own.stats.tokens / (time.monotonic() - began))
    other = VLLMEngine(policy, Wire(url=url, timeout=300), eos_ids={tokenizer.eos})
    other.sync(1)
    report.ends("taken by another run", lambda: engine.generate(prompts, sampling, seed=0), StaleAnswer, 60)
    other.wire.timeout = PATIENCE
    _signal(process, signal.SIGSTOP)
    report.ends("stopped", lambda: other.generate(prompts, sampling, seed=0), EngineError, 2 * PATIENCE)
    _signal(process, signal.SIGCONT)
    other.wire.timeout = 300
    other.sync(2)
    report.note("goes on after a stop", other.generate(prompts, sampling, seed=0).version)
    _signal(process, signal.SIGKILL)
    report.ends("killed", lambda: other.generate(prompts, sampling, seed=0), EngineError, 60)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--vllm", default="vllm")
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--share", type=float, default=0.4)
    given = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory() as place:
        folder = given.model or random_model(Path(place) / "model")
        with served(given.vllm, folder, given.port, given.share, Path(place) / "vllm.log") as process:
            check(report, folder, process, f"http://127.0.0.1:{given.port}")
    given.json.write_text(json.dumps(report.rows, indent=2))
    print(f"{len(report.failed)} of {len(report.rows)} failed; wrote {given.json}")
    return int(bool(report.failed))


if __name__ == "__main__":
    sys.exit(main())
