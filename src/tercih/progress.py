"""Progress of long work: a bar with rate and time left on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

console = Console(highlight=False, soft_wrap=True)
QUIET_SECONDS = 15.0
SHOWN = ("loss", "reward", "kl", "accuracy", "nats_per_token")


class Progress:
    """`with Progress("sampling", total=100) as p: p.advance()`."""

    def __init__(self, title: str, total: int, done: int = 0) -> None:
        self.title, self.total, self.done = title, total, done
        self.resumed = done
        self.bar: Bar | None = None
        self.task: TaskID | None = None
        self.began = self.said = time.monotonic()

    def __enter__(self) -> "Progress":
        if console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self.bar = Bar(*columns, TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=console)
            self.bar.start()
            self.task = self.bar.add_task(self.title, total=self.total, completed=self.done, note="")
        if self.done:
            console.print(f"{self.title}: going on from step {self.done} of {self.total}")
        return self

    def advance(self, metrics: Mapping[str, float] | None = None, by: int = 1) -> None:
        self.done += by
        note = "  ".join(f"{k} {metrics[k]:.3g}" for k in SHOWN if k in metrics) if metrics else ""
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=self.done, note=note)
        elif time.monotonic() - self.said > QUIET_SECONDS:
            self.said = time.monotonic()
            rate = (self.done - self.resumed) / (self.said - self.began)
            pace = f", {rate:.2g}/s, {(self.total - self.done) / rate:.0f} s left" if rate else ""
            console.print(f"{self.title}: {self.done}/{self.total}{pace}  {note}")

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar is not None:
            self.bar.stop()
