"""kill -9 at any moment costs the work since the last checkpoint and nothing else: the end has the same bits."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from tercih.checkpoint import Checkpoints

from . import victim

HERE = Path(__file__).parent


class Victims:
    """Runs that are forked from one process that has imported torch already, one at a time."""

    def __init__(self) -> None:
        program = [sys.executable, str(HERE / "victim.py")]
        path = os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = os.environ | {"PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"}
        pipe = subprocess.PIPE
        self.server = subprocess.Popen(program, stdin=pipe, stdout=pipe, text=True, env=environment)

    def run(self, kind: str, folder: Path, *, die_at: int = 0, kill_after: float | None = None) -> tuple[int, float]:
        """Exit status as `os.waitpid` has it, and the seconds of training."""
        self._say(f"{kind} {folder} {die_at}")
        pid, began = self._hear("began"), time.monotonic()
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(pid, signal.SIGKILL)
        self._say("reap")
        return self._hear("ended"), time.monotonic() - began

    def _say(self, line: str) -> None:
        assert self.server.stdin
        self.server.stdin.write(line + "\n")
        self.server.stdin.flush()

    def _hear(self, word: str) -> int:
        assert self.server.stdout
        for line in self.server.stdout:
            if line.startswith(f"{word} "):
                return int(line.split()[1])
        raise AssertionError(f"the server is gone before it said {word!r}")


@dataclass(frozen=True)
class Whole:
    """What an uninterrupted run leaves, and how long it takes."""

    folder: Path
    seconds: float


@pytest.fixture(scope="module")
def victims() -> Iterator[Victims]:
    made = Victims()
    yield made
    assert made.server.stdin
    made.server.stdin.close()
    made.server.wait(30)


@pytest.fixture(scope="module", params=["sft", "ppo"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def whole(kind: str, victims: Victims, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp(kind)
    status, seconds = victims.run(kind, folder)
    assert status == 0
    return Whole(folder, seconds)


def left(folder: Path) -> tuple[bytes, dict[str, Any]]:
    saved = Checkpoints(folder / "checkpoints").load()
    assert saved is not None
    assert saved[0] == victim.STEPS
    return (folder / "metrics.jsonl").read_bytes(), saved[1]


def assert_same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


@pytest.mark.learns
def test_killed_at_random_moments_it_ends_with_the_same_bits(
    kind: str, whole: Whole, victims: Victims, tmp_path: Path
) -> None:
    rng, folder = random.Random(kind), tmp_path / "run"
    statuses = [victims.run(kind, folder, kill_after=rng.uniform(0, whole.seconds / 2))[0] for _ in range(8)]
    assert signal.SIGKILL in statuses, "none of them was killed before its end"
    assert victims.run(kind, folder)[0] == 0
    assert_same(left(folder), left(whole.folder))


@pytest.mark.learns
def test_killed_at_every_touch_of_the_disk_it_ends_with_the_same_bits(
    kind: str, whole: Whole, victims: Victims, tmp_path: Path
) -> None:
    resumed_at = []
    for die_at in range(1, 15 if kind == "sft" else 5):
        folder = tmp_path / str(die_at)
        assert victims.run(kind, folder, die_at=die_at)[0] == signal.SIGKILL
        assert victims.run(kind, folder)[0] == 0
        assert_same(left(folder), left(whole.folder))
        assert not list((folder / "checkpoints").glob("*.partial"))
        resumed_at.append(int((folder / "began.txt").read_text().split()[-1]))
    assert resumed_at[-1] > 0, "it went on; it did not begin anew"
    assert resumed_at == sorted(resumed_at)
