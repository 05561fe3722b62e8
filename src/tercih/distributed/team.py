"""Processes that train one model together, as torchrun starts them. Alone, everything here is the identity.

Every process holds the same item of data and walks the same steps; only forward and backward passes are shared out. So
methods never ask the rank: means are over the units of the whole batch, which everybody knows.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tercih.batches import AnyBatch
from tercih.forward import Mean

SECONDS = 600.0  # a process waits no longer for the others; TERCIH_TIMEOUT changes it
SAID = "failed"  # the key under which the process that fails first leaves its rank
LOST = ("connection closed", "connection reset", "timed out", "timeout", "broken pipe", "socket")

T = TypeVar("T")
B = TypeVar("B", bound=AnyBatch)


class TeamError(RuntimeError):
    """Processes that cannot work together, and what to do about it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Team:
    """Process number `rank` of `size`. With `sharded` each holds a part of the weights, otherwise all of them."""

    rank: int = 0
    size: int = 1
    sharded: bool = False

    @property
    def leads(self) -> bool:
        """Whether this is the one process that writes."""
        return self.rank == 0

    def tell(self, said: T) -> T:
        """What the leader says, everywhere."""
        if self.size == 1:
            return said
        held = [said]
        dist.broadcast_object_list(held, src=0)
        return held[0]

    def gather(self, mine: T) -> list[T]:
        """What every process has, in the order of ranks."""
        if self.size == 1:
            return [mine]
        held: list[T] = [mine] * self.size
        dist.all_gather_object(held, mine)
        return held

    def mine(self, count: int) -> range:
        """This process's share of `count` things; those of all ranks in their order are all of them."""
        return range(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def sum(self, x: Tensor) -> Tensor:
        """Over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(x)
        return x

    def share(self, batch: B, rows: int) -> Iterator[tuple[B, bool]]:
        """This process's micro-batches of at most `rows` rows. There are as many for everybody, so that all
        walk in step; False with one that only keeps step and must count for nothing."""
        if self.size == 1:
            yield from ((micro, True) for micro in batch.split(rows))
            return
        micros = list(batch.split(min(rows, -(-batch.rows // self.size))))
        for start in range(0, len(micros), self.size):
            at = start + self.rank
            yield (micros[at], True) if at < len(micros) else (micros[start], False)

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Everybody's gradients added up; the same parameters have one everywhere."""
        if self.size == 1:
            return
        for group in _buckets([p.grad for p in parameters if p.grad is not None]):
            flat = self.sum(torch.cat([gradient.reshape(-1) for gradient in group]))
            for gradient, part in zip(group, torch.split(flat, [g.numel() for g in group]), strict=True):
                gradient.copy_(part.view_as(gradient))

    def sum_means(self, means: Mapping[str, Mean]) -> dict[str, Mean]:
        """Sums and counts of everybody; the names are the same everywhere."""
        if self.size == 1 or not means:
            return dict(means)
        names = sorted(means)
        flat = torch.tensor([[float(x) for x in means[name]] for name in names], dtype=torch.float64)
        return {name: (total, count) for name, (total, count) in zip(names, self.sum(flat), strict=True)}


ALONE = Team()
BUCKET = 2**24  # numbers that travel together


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Of one dtype each, in order, of about `BUCKET` numbers."""
    held: list[Tensor] = []
    for gradient in gradients:
        if held and (gradient.dtype != held[0].dtype or sum(g.numel() for g in held) >= BUCKET):
            yield held
            held = []
        held.append(gradient)
    if held:
        yield held


def size_of_team() -> int:
    """How many processes torchrun has started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined(*, sharded: bool = False) -> Iterator[Team]:
    """The team that the environment names (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT, as torchrun sets them).

    The first process that fails raises what went wrong; the others, whose next sum then fails or who fail alike, leave
    quietly with exit status 2. Nobody waits longer than `SECONDS`.
    """
    if size_of_team() == 1:
        yield ALONE
        return
    team = Team(rank=int(os.environ["RANK"]), size=size_of_team(), sharded=sharded)
    wait = timedelta(seconds=float(os.environ.get("TERCIH_TIMEOUT", SECONDS)))
    hosts = team.leads and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    shared = dist.TCPStore(address, port, is_master=hosts, timeout=wait)  # type: ignore[attr-defined]
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = dist.PrefixStore(attempt, shared)  # type: ignore[attr-defined]
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, store=store, rank=team.rank, world_size=team.size, timeout=wait)
    try:
        yield team
        if team.size > 1:
            dist.barrier()
    except Exception as error:
        if not _fails_first(store, team):
            raise SystemExit(2) from None
        if isinstance(error, RuntimeError) and any(word in str(error).lower() for word in LOST):
            raise TeamError(
                f"process {team.rank} of {team.size} lost the others: one was killed, or did not answer for"
                f" {wait.total_seconds():.0f} s (TERCIH_TIMEOUT changes that). The same command goes on from the last"
                " good checkpoint"
            ) from error
        raise
    dist.destroy_process_group()


def _fails_first(store: Any, team: Team) -> bool:
    try:
        return bool(store.compare_set(SAID, "", str(team.rank)) == str(team.rank).encode())
    except (RuntimeError, dist.DistError):  # the store went down with the leader, which spoke for itself if it could
        return not team.leads
