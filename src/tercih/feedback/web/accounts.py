"""Who may do what: invitations, passwords, sessions, keys, and how a person is forgotten.

Of every secret the database holds a hash alone. What somebody said is kept under a pseudonym (`rater`); who they are
stands in `account`, `session` and `rater.stratum`, and `erase` takes all three away, and what they said to the model.
"""

import hashlib
import secrets
import time as clock
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from tercih.feedback import chats
from tercih.feedback.database import Database
from tercih.feedback.tables import account, api_key, event, invitation, rater, session
from tercih.feedback.web.keys import revoke_beyond

ROLES = ("rater", "lead", "admin")  # each may do what those before it may; "service" has keys and no pages
SESSION_SECONDS = 14 * 86_400.0
INVITATION_SECONDS = 14 * 86_400.0
SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 200
LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none that is easily taken for another

HASHER = PasswordHasher()


class AccountError(ValueError):
    """What was asked of an account cannot be; `word` names the sentence in the catalogues."""

    def __init__(self, message: str, word: str) -> None:
        super().__init__(message)
        self.word = word


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """Somebody who is signed in."""

    digest: str
    rater: str
    role: str
    state: str
    language: str
    csrf: str


def digest(secret: str) -> str:
    """For secrets that are long and random: nothing slower is needed."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def ranks(role: str, needed: str) -> bool:
    """Whether a role may do what needs another one."""
    return role in ROLES and ROLES.index(role) >= ROLES.index(needed)


def note(connection: sa.Connection, kind: str, by: str, project: str | None = None, **payload: Any) -> None:
    """A line in the log of events."""
    connection.execute(
        event.insert().values(kind=kind, time=clock.time(), rater=by, project=project, payload=payload, key=None)
    )


# Invitations


def invite(database: Database, role: str, by: str, *, stratum: str | None = None) -> str:
    """A link's secret, good for one account of this role."""
    if role not in ROLES:
        raise AccountError(f"a role is one of {', '.join(ROLES)}, got {role!r}", "account.role")
    secret = secrets.token_urlsafe(24)
    row = {"digest": digest(secret), "role": role, "stratum": stratum, "expires": clock.time() + INVITATION_SECONDS}
    with database.transaction(write=True) as connection:
        connection.execute(invitation.insert().values(row))
        note(connection, "invite", by, role=role)
    return secret


def first_admin(database: Database) -> str | None:
    """The secret of an invitation for the first admin; None where there is one. Earlier ones no longer hold."""
    with database.transaction(write=True) as connection:
        if connection.scalar(sa.select(rater.c.id).where(rater.c.role == "admin", rater.c.state != "erased").limit(1)):
            return None
        connection.execute(sa.delete(invitation).where(invitation.c.role == "admin", invitation.c.used.is_(None)))
    return invite(database, "admin", "server")


def is_open(database: Database, secret: str) -> bool:
    """Whether an invitation can still be used."""
    with database.transaction() as connection:
        return connection.execute(_open(secret)).first() is not None


def join(database: Database, secret: str, login: str, password: str, language: str) -> str:
    """An account for whoever holds the invitation; returns the pseudonym. Raises AccountError."""
    name = plain(login)
    if not 3 <= len(name) <= 200:
        raise AccountError("a login has 3 to 200 characters", "account.login")
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise AccountError(f"a password has at least {SHORTEST_PASSWORD} characters", "account.password")
    return _enter(database, secret, language, {"login": name, "password": HASHER.hash(password)})


def join_linked(database: Database, secret: str | None, link: str, language: str) -> str:
    """An account for whom another service vouches; without an invitation, a rater's. Raises AccountError."""
    return _enter(database, secret, language, {"link": link})


def _enter(database: Database, secret: str | None, language: str, own: Mapping[str, str]) -> str:
    pseudonym = "r-" + "".join(secrets.choice(LETTERS) for _ in range(8))
    try:
        with database.transaction(write=True) as connection:
            role, stratum = ("rater", None) if secret is None else _use(connection, secret)
            who = {"id": pseudonym, "kind": "person", "role": role, "state": "active", "stratum": stratum}
            connection.execute(rater.insert().values(who | {"created": clock.time()}))
            connection.execute(account.insert().values({"rater": pseudonym, "language": language, **own}))
            note(connection, "join", pseudonym, role=role)
    except sa.exc.IntegrityError:
        raise AccountError("this login is taken", "account.taken") from None
    return pseudonym


def _use(connection: sa.Connection, secret: str) -> tuple[str, str | None]:
    """The role and stratum of an invitation, which holds no longer: of two who come at once, one is let in."""
    found = connection.execute(_open(secret)).first()
    once = sa.update(invitation).where(invitation.c.digest == digest(secret), invitation.c.used.is_(None))
    if found is None or connection.execute(once.values(used=clock.time())).rowcount != 1:
        raise AccountError("this invitation was used or has run out; ask for another one", "account.invitation")
    return found.role, found.stratum


def _open(secret: str) -> sa.Select[Any]:
    now = clock.time()
    return sa.select(invitation.c.role, invitation.c.stratum).where(
        invitation.c.digest == digest(secret), invitation.c.used.is_(None), invitation.c.expires > now
    )


def plain(login: str) -> str:
    """A login however it was typed."""
    return unicodedata.normalize("NFKC", login).strip().casefold()


# Signing in and out


def check_password(database: Database, login: str, password: str) -> str | None:
    """The pseudonym behind a login, if the password is right and the person may sign in."""
    query = (
        sa.select(account.c.rater, account.c.password)
        .join(rater, rater.c.id == account.c.rater)
        .where(account.c.login == plain(login), rater.c.state != "erased", rater.c.role.in_(ROLES))
    )
    with database.transaction() as connection:
        found = connection.execute(query).first()
    known = found is not None and found.password is not None
    try:
        HASHER.verify(found.password if found is not None and known else nobody(), password[:LONGEST_PASSWORD])
    except (VerificationError, InvalidHashError):
        return None
    return str(found.rater) if found is not None and known else None


def find_linked(database: Database, link: str) -> str | None:
    """The pseudonym of whom another service signs in, if they have an account and may sign in."""
    query = (
        sa.select(account.c.rater)
        .join(rater, rater.c.id == account.c.rater)
        .where(account.c.link == link, rater.c.state != "erased", rater.c.role.in_(ROLES))
    )
    with database.transaction() as connection:
        return connection.scalar(query)


@cache
def nobody() -> str:
    """A hash to check where there is none, so that an unknown name takes as long as a wrong password."""
    return HASHER.hash(secrets.token_hex())


def open_session(database: Database, who: str) -> str:
    """The secret for the cookie."""
    secret, now = secrets.token_urlsafe(32), clock.time()
    row = {
        "digest": digest(secret), "rater": who, "csrf": secrets.token_urlsafe(24), "expires": now + SESSION_SECONDS,
    }  # fmt: skip
    with database.transaction(write=True) as connection:
        connection.execute(sa.delete(session).where(session.c.expires < now))
        connection.execute(session.insert().values(row))
    return secret


def find_session(database: Database, secret: str) -> Session | None:
    """Who holds this cookie now; None where it ran out, was revoked, or never was."""
    query = (
        sa.select(session.c.digest, session.c.rater, session.c.csrf, rater.c.role, rater.c.state, account.c.language)
        .join(rater, rater.c.id == session.c.rater)
        .join(account, account.c.rater == session.c.rater)
        .where(session.c.digest == digest(secret), session.c.expires > clock.time(), rater.c.state != "erased")
    )
    with database.transaction() as connection:
        found = connection.execute(query).mappings().first()
    return None if found is None else Session(**found)


def close_session(database: Database, digest_of_cookie: str) -> None:
    with database.transaction(write=True) as connection:
        connection.execute(sa.delete(session).where(session.c.digest == digest_of_cookie))


def set_language(database: Database, who: str, language: str) -> None:
    with database.transaction(write=True) as connection:
        connection.execute(sa.update(account).where(account.c.rater == who).values(language=language))


# What leads and admins do to others


def set_state(database: Database, who: str, state: str, by: str) -> None:
    """'active' or 'paused'. Somebody who is paused sees their pages but is given no questions."""
    if state not in ("active", "paused"):
        raise AccountError(f"a rater is made active or paused, not {state!r}", "account.state")
    _change(database, who, {"state": state}, by, "pause" if state == "paused" else "resume")


def set_role(database: Database, who: str, role: str, by: str) -> None:
    """Keys that the new role could not make hold no longer."""
    if role not in ROLES:
        raise AccountError(f"a role is one of {', '.join(ROLES)}, got {role!r}", "account.role")
    if who == by:
        raise AccountError("another admin has to change your own role", "account.own")
    revoke_beyond(database, who, role)
    _change(database, who, {"role": role}, by, "role")


def erase(database: Database, who: str, by: str) -> None:
    """Forget who somebody is: login, sessions, keys, stratum and conversations go; what they judged stays, under the
    pseudonym, with what was shown."""
    if who == by:
        raise AccountError("another admin has to erase your own account", "account.own")
    with database.transaction(write=True) as connection:
        for table in (account, session, api_key):
            connection.execute(sa.delete(table).where(table.c.rater == who))
        chats.forget(connection, who)
    _change(database, who, {"state": "erased", "stratum": None}, by, "erase")


def _change(database: Database, who: str, values: dict[str, Any], by: str, kind: str) -> None:
    with database.transaction(write=True) as connection:
        here = sa.update(rater).where(rater.c.id == who, rater.c.state != "erased")
        if connection.execute(here.values(values)).rowcount != 1:
            raise AccountError(f"there is no rater {who!r}", "account.unknown")
        note(connection, kind, by, about=who, **{k: v for k, v in values.items() if k == "role"})
