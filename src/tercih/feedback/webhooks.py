"""Telling other programs of every answer: a POST for each event of a project whose settings name an address.

    X-Tercih-Event: 17                    the event's id; the same may come twice, never out of order
    X-Tercih-Signature: sha256=HEX        HMAC-SHA256 of the body with the secret

How far a project has been told is kept in `fit` (kind "webhook") after the other side said 2xx: a crash repeats an
event, after `HOLD`, and loses none. After a failure the waits grow from `FIRST_WAIT` to `LONGEST_WAIT`.
"""

import hashlib
import hmac
import ipaddress
import json
import logging
import socket
import ssl
import threading
import time as clock
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import SplitResult, urlsplit

import sqlalchemy as sa

from tercih.feedback.database import Database
from tercih.feedback.events import since
from tercih.feedback.projects import ProjectError
from tercih.feedback.tables import fit
from tercih.feedback.tables import project as projects

KIND = "webhook"
TELLS = ("answer", "edit", "undo", "late", "withdraw")  # kinds of events
FIRST_WAIT, LONGEST_WAIT = 5.0, 3600.0  # seconds
TIMEOUT = 10.0
HOLD = 120.0  # seconds without a sign of life after which another worker tells a project's events
AT_ONCE = 100  # events of a project in one round

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Webhooks:
    """`round` delivers what is due, `follow` goes on until told to stop; `private` allows one's own network."""

    database: Database
    secret: str = field(repr=False)
    private: bool = False
    now: Callable[[], float] = clock.time

    def __post_init__(self) -> None:
        if len(self.secret) < 16:
            raise ValueError("webhooks.secret must have at least 16 characters; `openssl rand -hex 32` makes one")

    def follow(self, stop: threading.Event, every: float = 1.0) -> None:
        while not stop.is_set():
            if not self.round():
                stop.wait(every)

    def round(self) -> int:
        """Deliver what is due, at most `AT_ONCE` events a project, and return how many were delivered."""
        with self.database.transaction() as connection:
            rows = connection.execute(sa.select(projects.c.id, projects.c.config).order_by(projects.c.id)).all()
        return sum(self._project(row.id, row.config["webhook"]) for row in rows if row.config.get("webhook"))

    def _project(self, project: str, address: str) -> int:
        held = self._hold(project)
        if held is None:
            return 0
        after, trouble = held
        with self.database.transaction() as connection:
            found = since(connection, project, after, AT_ONCE)
        delivered = 0
        for each in found:
            if each["kind"] in TELLS:
                try:
                    self._post(address, each)
                except (OSError, HTTPException, ValueError) as error:  # ValueError: an address that cannot be
                    failures = trouble.get("failures", 0) + 1
                    wait = min(FIRST_WAIT * 2 ** min(failures - 1, 20), LONGEST_WAIT)
                    logger.warning("webhook of %s: %s; again in %.0f s", project, error, wait)
                    self._keep(project, after, {"failures": failures, "next": self.now() + wait, "error": str(error)})
                    return delivered
                delivered += 1
                trouble = {}
                self._keep(project, each["id"], {"next": self.now() + HOLD})
            after = each["id"]
        self._keep(project, after, trouble)
        return delivered

    def _hold(self, project: str) -> tuple[int, dict[str, Any]] | None:
        """How far the project was told and what went wrong last, where something is due and no other worker tells it;
        for `HOLD` seconds it is this worker's."""
        mine = (fit.c.project == project) & (fit.c.kind == KIND)
        told = sa.select(fit.c.events, fit.c.result).where(mine)
        with self.database.transaction() as connection:
            row = connection.execute(told).first()
            if not since(connection, project, row.events if row else 0, 1):
                return None
        try:
            with self.database.transaction(write=True) as connection:
                row = connection.execute(told.with_for_update()).first()
                after, trouble = (row.events, row.result) if row else (0, {})
                if trouble.get("next", 0) > self.now():
                    return None
                held = {"time": self.now(), "result": {**trouble, "next": self.now() + HOLD}}
                if row is None:
                    connection.execute(fit.insert().values(project=project, kind=KIND, events=0, **held))
                else:
                    connection.execute(sa.update(fit).where(mine).values(held))
        except sa.exc.IntegrityError:  # another worker began in the same moment
            return None
        return after, trouble

    def _keep(self, project: str, after: int, result: Mapping[str, Any]) -> None:
        values = {"events": after, "time": self.now(), "result": dict(result)}
        with self.database.transaction(write=True) as connection:
            connection.execute(sa.update(fit).where(fit.c.project == project, fit.c.kind == KIND).values(values))

    def _post(self, address: str, told: Mapping[str, Any]) -> None:
        """Raises OSError or HTTPException where it is not delivered, ProjectError for an address not allowed."""
        names = ("id", "time", "kind", "rater", "project", "payload")
        body = json.dumps({name: told[name] for name in names}, ensure_ascii=False).encode()
        place = check_address(address)
        headers = {
            "Content-Type": "application/json", "X-Tercih-Event": str(told["id"]),
            "X-Tercih-Signature": signature(self.secret, body), "Host": place.netloc,
        }  # fmt: skip
        connection = _connect(place, self.private)
        try:
            connection.request("POST", (place.path or "/") + (f"?{place.query}" if place.query else ""), body, headers)
            status = connection.getresponse().status
        finally:
            connection.close()
        if not 200 <= status < 300:  # a redirection is not followed: it may lead anywhere
            raise OSError(f"{place.hostname} answered {status}")


def signature(secret: str, body: bytes) -> str:
    """What `X-Tercih-Signature` must be equal to; compare with `hmac.compare_digest`."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def check_address(address: str) -> SplitResult:
    """The parts of an http(s) address without a user in it. Raises ProjectError."""
    try:
        place = urlsplit(address)
        place.port  # noqa: B018  (raises ValueError)
    except ValueError:
        raise ProjectError(f"project.webhook is no address: {address!r}") from None
    if place.scheme not in ("http", "https") or not place.hostname or place.username or place.password:
        raise ProjectError(f"project.webhook must be http(s)://HOST/…, without a user or password, got {address!r}")
    if any(sign <= " " or sign == "\x7f" for sign in address):
        raise ProjectError(f"project.webhook must not hold spaces or control characters, got {address!r}")
    return place


def _connect(place: SplitResult, private: bool) -> HTTPConnection:
    """A connection to an address that was looked up once and checked: a second look-up could name another one."""
    assert place.hostname is not None
    port = place.port or (443 if place.scheme == "https" else 80)
    found = socket.getaddrinfo(place.hostname, port, type=socket.SOCK_STREAM)
    ips = [str(each[4][0]) for each in found]
    for ip in ips:
        if not private and not _public(ip):
            raise ProjectError(f"project.webhook: {place.hostname} is {ip}, of a private network, which is not allowed")
    if place.scheme == "http":
        connection = HTTPConnection(place.hostname, port, timeout=TIMEOUT)
    else:
        connection = HTTPSConnection(place.hostname, port, timeout=TIMEOUT)
    raw = socket.create_connection((ips[0], port), TIMEOUT)
    if place.scheme == "https":
        raw = ssl.create_default_context().wrap_socket(raw, server_hostname=place.hostname)
    connection.sock = raw
    return connection


def _public(ip: str) -> bool:
    """IPv6 addresses that carry an IPv4 one are judged by it."""
    address = ipaddress.ip_address(ip.split("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is not None:
            address = inner
    return address.is_global and not address.is_multicast
