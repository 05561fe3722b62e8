"""How often somebody may try: a bound on guesses at passwords, invitations and keys, and on messages to the model, for
all servers of a database."""

import hashlib
import time as clock
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from tercih.feedback.database import Database
from tercih.feedback.tables import failure

SECONDS = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Limiter:
    """`most` failures of a `kind` in `SECONDS` for one name; after that its attempts are refused until the oldest is
    that old. Only failures are written, under a hash of the name, and old ones go with the next one."""

    database: Database
    kind: str
    most: int
    now: Callable[[], float] = clock.time

    def allows(self, name: str) -> bool:
        mine = (failure.c.name == self._hashed(name)) & (failure.c.time > self.now() - SECONDS)
        with self.database.transaction() as connection:
            return (connection.scalar(sa.select(sa.func.count()).where(mine)) or 0) < self.most

    def takes(self, name: str) -> bool:
        """Whether one more is allowed; if so it is counted."""
        if not self.allows(name):
            return False
        self.failed(name)
        return True

    def failed(self, name: str) -> None:
        now = self.now()
        with self.database.transaction(write=True) as connection:
            connection.execute(sa.delete(failure).where(failure.c.time <= now - SECONDS))
            connection.execute(failure.insert().values(name=self._hashed(name), time=now))

    def succeeded(self, name: str) -> None:
        with self.database.transaction(write=True) as connection:
            connection.execute(sa.delete(failure).where(failure.c.name == self._hashed(name)))

    def _hashed(self, name: str) -> str:
        return hashlib.sha256(f"{self.kind} {name}".encode("utf-8", "replace")).hexdigest()
