"""How often somebody may try: a bound on guesses at passwords and on what is asked of the model, kept in memory."""

import time as clock
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock


@dataclass(kw_only=True)
class Limiter:
    """`most` failures in `seconds` for one name; after that its attempts are refused until the oldest is that old."""

    most: int = 10
    seconds: float = 300.0
    names: int = 10_000  # remembered at a time
    now: Callable[[], float] = clock.monotonic
    _failures: "OrderedDict[str, list[float]]" = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    def allows(self, name: str) -> bool:
        with self._lock:
            return len(self._recent(name)) < self.most

    def takes(self, name: str) -> bool:
        """Whether one more is allowed; if so it is counted."""
        if not self.allows(name):
            return False
        self.failed(name)
        return True

    def failed(self, name: str) -> None:
        with self._lock:
            self._failures[name] = [*self._recent(name), self.now()]
            self._failures.move_to_end(name)
            while len(self._failures) > self.names:
                self._failures.popitem(last=False)

    def succeeded(self, name: str) -> None:
        with self._lock:
            self._failures.pop(name, None)

    def _recent(self, name: str) -> list[float]:
        since = self.now() - self.seconds
        return [at for at in self._failures.get(name, []) if at > since]
