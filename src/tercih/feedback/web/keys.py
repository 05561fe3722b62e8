"""Keys for programs: `Authorization: Bearer KEY`. The database holds their SHA-256 alone."""

import hashlib
import re
import secrets
import time as clock
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tercih.feedback.database import Database
from tercih.feedback.tables import api_key, rater

SCOPES = ("read", "write", "label", "admin")
GRANTS: Mapping[str, tuple[str, ...]] = {"rater": (), "lead": ("read", "write", "label"), "admin": SCOPES}
"""What keys people of each role may make."""
TOUCH_SECONDS = 600.0  # so often at most is it written down that a key was used
KEY = re.compile(r"tercih_[A-Za-z0-9_-]{20,100}")


class KeyRefused(ValueError):
    """A key that is unknown, revoked, or may not do this; `status` is HTTP's."""

    def __init__(self, message: str, status: int = 401) -> None:
        super().__init__(message)
        self.status = status


class KeyUnknown(KeyRefused):
    """It looks like a key, but is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """What a key may do, and in whose name."""

    rater: str
    scopes: frozenset[str]

    def need(self, scope: str) -> None:
        """Raises KeyRefused (403) without that scope; "admin" includes all."""
        if not self.scopes & {scope, "admin"}:
            raise KeyRefused(f"this key has no scope {scope!r}; make one that has", 403)


def make_key(database: Database, rater_name: str, name: str, scopes: Collection[str]) -> str:
    """A new key; it is shown once and cannot be looked up again. Raises ValueError for an unknown scope or rater."""
    if not scopes or not set(scopes) <= set(SCOPES):
        raise ValueError(f"scopes must be some of {', '.join(SCOPES)}, got {', '.join(scopes) or 'none'}")
    key = f"tercih_{secrets.token_urlsafe(32)}"
    row = {
        "digest": digest(key), "rater": rater_name, "name": name[:100], "scopes": sorted(set(scopes)),
        "created": clock.time(), "revoked": False,
    }  # fmt: skip
    with database.transaction(write=True) as connection:
        if connection.scalar(sa.select(rater.c.id).where(rater.c.id == rater_name)) is None:
            raise ValueError(f"there is no rater {rater_name!r}")
        connection.execute(api_key.insert().values(row))
    return key


def list_keys(database: Database, rater_name: str | None = None) -> list[dict[str, Any]]:
    """All keys, or those that act in one rater's name, the newest first; under "digest" what `revoke` takes."""
    query = sa.select(api_key).order_by(api_key.c.created.desc(), api_key.c.digest)
    if rater_name is not None:
        query = query.where(api_key.c.rater == rater_name)
    with database.transaction() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def revoke_beyond(database: Database, rater_name: str, role: str) -> None:
    """Revoke those of a rater's keys that this role could not make."""
    for key in list_keys(database, rater_name):
        if not set(key["scopes"]) <= set(GRANTS[role]):
            revoke(database, key["digest"])


def revoke(database: Database, key_digest: str, rater_name: str | None = None) -> bool:
    """Whether there was such a key that worked, of this rater if one is named."""
    here = (api_key.c.digest == key_digest) & ~api_key.c.revoked
    if rater_name is not None:
        here &= api_key.c.rater == rater_name
    with database.transaction(write=True) as connection:
        return connection.execute(sa.update(api_key).where(here).values(revoked=True)).rowcount > 0


def check_key(database: Database, header: str | None) -> Key:
    """Who an Authorization header speaks for. Raises KeyRefused."""
    scheme, _, key = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise KeyRefused("send a key: Authorization: Bearer KEY")
    if not KEY.fullmatch(key.strip()):
        raise KeyRefused("this is no key of Tercih's")
    query = (
        sa.select(api_key.c.rater, api_key.c.scopes, api_key.c.revoked, api_key.c.used, rater.c.state)
        .join(rater, rater.c.id == api_key.c.rater)
        .where(api_key.c.digest == digest(key.strip()))
    )
    with database.transaction() as connection:
        row = connection.execute(query).first()
    if row is None or row.revoked or row.state == "erased":
        raise KeyUnknown("this key is unknown or was revoked")
    now = clock.time()
    if row.used is None or now - row.used > TOUCH_SECONDS:
        with database.transaction(write=True) as connection:
            here = api_key.c.digest == digest(key.strip())
            connection.execute(sa.update(api_key).where(here).values(used=now))
    return Key(rater=row.rater, scopes=frozenset(row.scopes))


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
