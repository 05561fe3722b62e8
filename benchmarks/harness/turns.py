"""Two programs take turns: each does one repetition when it is told to, and waits.

A side is a program `SIDE CASE.json`. It does its start-up and one repetition by itself and writes a line of JSON
(`opened`: what the first repetition came to, and the memory held once weights and optimiser exist). After that it does
one repetition for every line `go` that it reads, and answers each with a line of JSON (`seconds`, `cpu` for those that
its threads worked, `peak`, and what it likes to add). At the end of its input it ends. Whatever else it prints goes to
its log.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from harness import memory

HERE = Path(__file__).parent.parent
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class SideFailed(RuntimeError):
    """A side ended or wrote something else than JSON; the message ends with its log."""


class Side:
    """The parent's end: a child process in an environment's own Python."""

    def __init__(self, python: str, script: Path, case: Path, *, threads: int, path: Sequence[str] = ()) -> None:
        self.name = f"{script.name} on {case.name}"
        self.log: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed with the side
        self.process = subprocess.Popen(
            [python, str(script), str(case)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
            text=True, cwd=case.parent, env=_environment(threads, path),
        )  # fmt: skip
        self.opened = self._read()

    def go(self) -> dict[str, Any]:
        """One repetition."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write("go\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._failure() from None
        return self._read()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        try:
            return dict(json.loads(line))
        except ValueError:
            raise self._failure() from None

    def _failure(self) -> SideFailed:
        self.process.kill()
        code = self.process.wait()
        self.log.seek(0)
        tail = "".join(self.log.readlines()[-25:])
        return SideFailed(f"{self.name} failed (exit status {code}):\n{tail}")


def _environment(threads: int, path: Sequence[str]) -> dict[str, str]:
    """A side sees this folder and `path`, not the parent's PYTHONPATH: a peer never finds our package in its way."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return kept | {
        "PYTHONPATH": os.pathsep.join([str(HERE), *path]),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        **dict.fromkeys(THREADS, str(threads)),
    }


def alternate(one: Side, other: Side, *, rounds: int, warm: int = 1) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Pairs of repetitions, the first of a pair changing from one to the next; `warm` pairs before are not kept."""
    pairs = []
    for number in range(warm + rounds):
        if number % 2 == 0:
            a, b = one.go(), other.go()
        else:
            b, a = other.go(), one.go()
        if number >= warm:
            pairs.append((a, b))
    return pairs


class Turns:
    """The child's end, called from within a training loop at the end of every step.

    `memory` is the module that says what is held: `harness.memory`, or `harness.device` for work on a GPU.
    """

    def __init__(self, memory: ModuleType = memory) -> None:
        self.memory = memory
        self.channel = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # whatever a library prints must not look like an answer
        self.began = self.cpu = 0.0
        self.steps = 0

    def __call__(self, facts: Mapping[str, Any], release: Callable[[], None] = lambda: None) -> None:
        """A repetition is over; returns when the next may begin.

        After the first one `release` is called, which should let go of gradients: what is held then is what weights and
        optimiser need.
        """
        self.memory.wait()
        seconds, cpu, peak = time.perf_counter() - self.began, time.process_time() - self.cpu, self.memory.peak()
        if self.steps == 0:
            release()
            self._say({**facts, "memory": self.memory.now()})
        else:
            self._say({**facts, "seconds": seconds, "cpu": cpu, "peak": peak})
        self.steps += 1
        if not sys.stdin.readline():
            sys.exit()
        self.memory.forget_peak()
        self.cpu = time.process_time()
        self.began = time.perf_counter()

    def _say(self, facts: Mapping[str, Any]) -> None:
        print(json.dumps(facts), file=self.channel, flush=True)


def read_case() -> dict[str, Any]:
    """On the processor in float32 where the case says nothing else."""
    return {"device": "cpu", "dtype": "float32", **json.loads(Path(sys.argv[1]).read_text())}


def turns_on(device: str) -> Turns:
    """Turns whose memory is the device's."""
    return Turns(import_module("harness.device") if device == "cuda" else memory)
