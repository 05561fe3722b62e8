"""What this machine can do at most, measured: nothing here is looked up."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

SECONDS = 0.7  # for each of the two
SIDE = {"cpu": 1024, "cuda": 8192}
BYTES = {"cpu": 2**28, "cuda": 2**31}


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    operations: float
    """Of square matrix products, additions and multiplications a second."""
    bandwidth: float
    """Bytes a second that a copy reads and writes."""
    dtype: str


def measure(device: torch.device, dtype: torch.dtype) -> Limits:
    """The best of the tries that fit into about a second and a half."""
    side, size = SIDE.get(device.type, 1024), BYTES.get(device.type, 2**28)
    a, b = torch.randn(2, side, side, device=device, dtype=torch.float32).to(dtype)
    product = torch.empty_like(a)
    source = torch.ones(size // 4, device=device)
    target = torch.empty_like(source)
    return Limits(
        operations=2 * side**3 / _best(lambda: torch.matmul(a, b, out=product), device),
        bandwidth=2 * size / _best(lambda: target.copy_(source), device),
        dtype=str(dtype).removeprefix("torch."),
    )


def _best(work: Callable[[], object], device: torch.device) -> float:
    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    work()
    wait()
    best, until = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        began = time.perf_counter()
        work()
        wait()
        best = min(best, time.perf_counter() - began)
    return best
