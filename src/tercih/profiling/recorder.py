"""Listens to a run's spans, and keeps for every training stage where its time and memory went."""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tercih import spans
from tercih.profiling.limits import Limits

NAMES = ("generate", "score", "reference", "forward", "backward", "optimiser", "data", "checkpoint")
IDLE = "idle"


@dataclass(kw_only=True)
class Stage:
    """One training stage. `seconds` and `peak` (bytes) by span, `counts` by (span, what)."""

    title: str
    weights: int
    """Numbers in the policy's matrices without its embeddings: a token read costs twice as many operations."""
    head: int
    """Numbers in the matrix that predicts tokens."""
    total_bytes: int
    """Of all its weights: what one decoding step reads."""
    trained: float
    """Share of the weights that is trained."""
    steps: int = 0
    wall: float = 0.0
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    peak: dict[str, int] = field(default_factory=dict)
    counts: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))

    def shares(self) -> dict[str, float]:
        """Of the wall time, by span; what no span covers is idle. They sum to 1."""
        found = {name: self.seconds[name] / self.wall for name in NAMES if name in self.seconds}
        return found | {IDLE: max(0.0, 1.0 - sum(found.values()))}

    def sum_of(self, what: str) -> float:
        return float(sum(amount for (_, name), amount in self.counts.items() if name == what))

    @property
    def padding(self) -> float:
        """Share of the positions that passes read which hold no token."""
        positions = self.sum_of("positions") + self.sum_of("positions_learned")
        return 1 - (self.sum_of("tokens") + self.sum_of("tokens_learned")) / positions if positions else 0.0

    def of_matrix_peak(self, limits: Limits) -> float | None:
        """What the learner multiplies in its forward and backward passes, as a share of what the machine can: 2
        operations a weight and token forward, 4 backward; attention is not counted."""
        seconds = self.seconds["forward"] + self.seconds["backward"]
        plain, learned = self.counts["forward", "positions"], self.counts["forward", "positions_learned"]
        heads = 2 * self.counts["forward", "predicted"] + 6 * self.counts["forward", "predicted_learned"]
        work = self.weights * (2 * plain + 6 * learned) + self.head * heads
        return work / seconds / limits.operations if seconds and work else None

    def of_bandwidth(self, limits: Limits) -> float | None:
        """What sampling reads of weights, as a share of what memory can give; caches of keys and values not counted."""
        seconds, steps = self.seconds["generate"], self.counts["generate", "passes"]
        return steps * self.total_bytes / seconds / limits.bandwidth if seconds and steps else None


class Recorder(spans.Listener):
    """Ends every training stage after `seconds`. The first step of each warms up and is not measured."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds, self.clock = seconds, clock
        self.stages: list[Stage] = []
        self.open: list[str] = []
        self.stage: Stage | None = None
        self.memory = Memory()
        self.warm, self.began, self.mark = False, 0.0, 0.0

    def begin(self, title: str, policy: nn.Module) -> None:
        head = _head(policy)
        matrices = sum(p.numel() for p in policy.parameters() if p.ndim > 1)
        embeddings = {id(m.weight): m.weight.numel() for m in policy.modules() if isinstance(m, nn.Embedding)}
        heads = 0 if head is None else head.weight.numel()
        apart = 0 if head is None or id(head.weight) in embeddings else heads
        total = sum(p.numel() for p in policy.parameters())
        self.stage = Stage(
            title=title,
            weights=matrices - sum(embeddings.values()) - apart,
            head=heads,
            total_bytes=sum(p.numel() * p.element_size() for p in policy.parameters()),
            trained=sum(p.numel() for p in policy.parameters() if p.requires_grad) / max(total, 1),
        )
        self.memory = Memory(next(policy.parameters()).device)
        self.warm, self.open = False, []
        self.began = self.mark = self._now()

    def end(self) -> None:
        assert self.stage is not None
        if self.stage.steps:
            self.stages.append(self.stage)
        self.stage = None

    def enter(self, name: str) -> None:
        if self.stage is not None:
            self._charge()
            self.open.append(name)

    def leave(self) -> None:
        if self.stage is not None and self.open:
            self._charge()
            self.open.pop()

    def count(self, name: str, amount: float) -> None:
        if self.stage is not None and self.open:
            self.stage.counts[self.open[-1], name] += amount

    def enough(self) -> bool:
        assert self.stage is not None
        self._charge()
        if not self.warm:
            self.warm = True
            self.stage.seconds.clear()
            self.stage.counts.clear()
            self.stage.peak.clear()
            self.began = self.mark
            return False
        self.stage.steps += 1
        self.stage.wall = self.mark - self.began
        return self.stage.wall >= self.seconds

    def _charge(self) -> None:
        """What has passed since the last mark belongs to the innermost span, and so does its memory."""
        assert self.stage is not None
        now, name = self._now(), self.open[-1] if self.open else IDLE
        self.stage.seconds[name] += now - self.mark
        self.stage.peak[name] = max(self.stage.peak.get(name, 0), self.memory.peak())
        self.mark = now

    def _now(self) -> float:
        self.memory.wait()
        return self.clock()


class Memory:
    """The most memory held since it was last asked, in bytes: what torch gave out of a GPU, else this process's."""

    def __init__(self, device: torch.device | None = None) -> None:
        self.cuda = device if device is not None and device.type == "cuda" else None

    def wait(self) -> None:
        """Until the GPU has done what it was given: time belongs to who asked for it."""
        if self.cuda is not None:
            torch.cuda.synchronize(self.cuda)

    def peak(self) -> int:
        if self.cuda is not None:
            held = torch.cuda.max_memory_allocated(self.cuda)
            torch.cuda.reset_peak_memory_stats(self.cuda)
            return held
        return _peak_of_process()


def _peak_of_process() -> int:
    """Linux tells it and forgets it on demand; elsewhere it is not known."""
    status, forget = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    try:
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        forget.write_text("5")
    except (OSError, StopIteration):
        return 0
    return int(line.split()[1]) * 1024


def _head(policy: nn.Module) -> Any:
    causal = getattr(policy, "causal", None)
    return None if causal is None else causal.get_output_embeddings()
