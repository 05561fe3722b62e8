"""Names for what a run is doing, heard by whoever listens: `with span("score"): …`. Where nobody does, a span costs one
comparison.

The names are generate, score, reference, forward, backward, optimiser, data and checkpoint. Spans may stand inside each
other; time belongs to the innermost.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")


class Listener:
    """Subclass it; every method here does nothing."""

    def begin(self, title: str, policy: Any) -> None:
        """Training of `policy`, a module, begins."""

    def end(self) -> None:
        """It has ended."""

    def enter(self, name: str) -> None: ...

    def leave(self) -> None:
        """The innermost span ends."""

    def count(self, name: str, amount: float) -> None:
        """So many more of something, in the innermost span."""

    def enough(self) -> bool:
        """Asked after every step: whether training shall end here."""
        return False


_listener: Listener | None = None
_NOTHING = nullcontext()


@contextmanager
def listen(listener: Listener) -> Iterator[None]:
    """Within this context, `listener` hears of every span in this process."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before


def span(name: str) -> AbstractContextManager[None]:
    return _NOTHING if _listener is None else _Span(_listener, name)


def each(name: str, items: Iterable[T]) -> Iterator[T]:
    """What an iterable gives; making each of them is a span."""
    iterator = iter(items)
    while True:
        with span(name):
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield item


def count(name: str, amount: float) -> None:
    if _listener is not None:
        _listener.count(name, amount)


def listening() -> bool:
    """Whether a count that takes some computing is worth it."""
    return _listener is not None


@contextmanager
def training(title: str, policy: Any) -> Iterator[None]:
    listener = _listener
    if listener is not None:
        listener.begin(title, policy)
    try:
        yield
    finally:
        if listener is not None:
            listener.end()


def enough() -> bool:
    return _listener is not None and _listener.enough()


class _Span:
    __slots__ = ("listener", "name")

    def __init__(self, listener: Listener, name: str) -> None:
        self.listener, self.name = listener, name

    def __enter__(self) -> None:
        self.listener.enter(self.name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.listener.leave()
