"""Calls to an engine in another process: JSON over HTTP, and an error in place of every kind of waiting for nothing."""

import http.client
import json
import os
import socket
import time
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

BUSY = (429, 502, 503, 504)  # worth another try
SHOWN = 500  # letters of a refusal


class EngineError(RuntimeError):
    """The engine did not do what it was asked; the message says what, and what may help."""


@dataclass(kw_only=True)
class Wire:
    """`call` raises EngineError where no whole answer has come after `timeout` seconds, however slowly its bytes
    trickle in. A connection that breaks is tried `tries` times in that time: nothing that is called here does harm when
    it is done twice. A call that timed out is not repeated. May be used by several threads.
    """

    url: str
    timeout: float
    tries: int = 4
    wait: float = 0.5
    """Seconds before the second try; twice as long before every further one."""
    _open: set[socket.socket] = field(default_factory=set, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)
    _interrupts: int = 0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"engine.url must look like http://127.0.0.1:8001, got {self.url!r}")
        if not self.timeout > 0:
            raise ValueError(f"engine.timeout must be > 0 seconds, got {self.timeout}")

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """What was answered, from JSON; None where the answer is empty."""
        deadline, interrupts = time.monotonic() + self.timeout, self._interrupts
        broken = ""
        for attempt in range(self.tries):
            if attempt:
                time.sleep(max(0.0, min(self.wait * 2 ** (attempt - 1), deadline - time.monotonic())))
            try:
                status, said = self._exchange(method, path, body, deadline, interrupts)
                answer = json.loads(said) if said and status == 200 else None
            except TimeoutError:
                raise EngineError(
                    f"{self.url}{path} has not answered within {self.timeout:g} s. Look whether the engine still works"
                    f" (its log, GET {self.url}/health); where it only needs longer, raise engine.timeout"
                ) from None
            except (OSError, http.client.HTTPException, json.JSONDecodeError) as error:
                broken = f"{type(error).__name__}: {error}".rstrip(": ")
                continue
            if status == 200:
                return answer
            broken = f"status {status}: {_reason(said)}"
            if status not in BUSY:
                raise EngineError(f"{self.url}{path} refused: {broken}")
        raise EngineError(
            f"{self.url}{path} could not be reached in {self.tries} tries ({broken}). Is the engine running there?"
            " Start it (again); the same command then goes on where it was"
        )

    def interrupt(self) -> None:
        """Break off all calls that are under way."""
        with self._lock:
            self._interrupts += 1
            for each in self._open:
                _shut(each)

    def _exchange(self, method: str, path: str, body: Any, deadline: float, interrupts: int) -> tuple[int, bytes]:
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.netloc, timeout=_left(deadline))
        try:
            connection.connect()
            channel = connection.sock
            with self._lock:
                if self._interrupts != interrupts:
                    raise EngineError(f"{self.url}{path} was called back")
                self._open.add(channel)
            try:
                channel.settimeout(_left(deadline))
                headers = {"Content-Type": "application/json", "Connection": "close"}
                if key := os.environ.get("VLLM_API_KEY"):
                    headers["Authorization"] = f"Bearer {key}"
                connection.request(
                    method, parts.path.rstrip("/") + path, None if body is None else json.dumps(body), headers
                )
                channel.settimeout(_left(deadline))
                response = connection.getresponse()
                said = bytearray()
                while True:
                    channel.settimeout(_left(deadline))
                    if not (piece := response.read1(2**20)):
                        break
                    said += piece
                if response.length:
                    raise ConnectionResetError(f"the answer broke off after {len(said)} bytes")
                return response.status, bytes(said)
            finally:
                with self._lock:
                    self._open.discard(channel)
        finally:
            connection.close()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _shut(channel: socket.socket) -> None:
    try:
        channel.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it was closed already


def _reason(said: bytes) -> str:
    """The sentence in a refusal, whichever of the usual forms it has."""
    text = said.decode(errors="replace")
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return text[:SHOWN]
    for name in ("error", "message", "detail"):
        if isinstance(found, dict) and name in found:
            found = found[name]
    return str(found)[:SHOWN]
