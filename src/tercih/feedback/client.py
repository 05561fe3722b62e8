"""A small client of the REST API, for programs; the standard library alone.

    client = Client("https://label.example.org/api", key)
    ids = client.ask("shop", questions)
    for event in client.events("shop", after=0): …

What changes something carries a key of its own or is the same when done twice, so that a call whose connection broke is
simply made again.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen
from uuid import uuid4

from tercih.feedback.exchange.formats import whole
from tercih.feedback.questions import Question
from tercih.records import Clip, Content, Item

BUSY = (502, 503, 504)  # worth another try
ASKED_AT_ONCE = 500  # questions


class ApiError(RuntimeError):
    """The server's refusal: its sentence, the `status`, and the field it is about (`where`)."""

    def __init__(self, message: str, status: int, where: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.where = where


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    """Methods return what the API returns; every one raises ApiError, or ConnectionError after `tries` of them."""

    url: str
    key: str = field(repr=False)
    tries: int = 5
    timeout: float = 30.0
    wait: float = 0.5
    """Seconds before the second try; twice as long before every further one."""

    def projects(self) -> list[dict[str, Any]]:
        return list(self._call("GET", "/projects"))

    def project(self, name: str) -> dict[str, Any]:
        return dict(self._call("GET", _path("projects", name)))

    def make_project(self, name: str, **settings: Any) -> dict[str, Any]:
        """Make a project, or give one that exists these settings."""
        try:
            return dict(self._call("POST", "/projects", {"id": name} | settings))
        except ApiError as error:
            if error.status != 409:
                raise
            return dict(self._call("PATCH", _path("projects", name), settings))

    def add_guidelines(self, project: str, text: str) -> list[dict[str, Any]]:
        return list(self._call("POST", _path("projects", project, "guidelines"), {"text": text}))

    def add_rater(self, name: str, kind: Literal["person", "simulated"] = "person", **rest: Any) -> dict[str, Any]:
        return dict(self._call("POST", "/raters", {"id": name, "kind": kind} | rest))

    def raters(self) -> list[dict[str, Any]]:
        return list(self._call("GET", "/raters"))

    # Questions

    def ask(self, project: str, questions: Sequence[Question]) -> list[str]:
        """Put questions and return their ids; again is a no-op. Token ids stay behind: only what people see is sent."""
        ids: list[str] = []
        for at in range(0, len(questions), ASKED_AT_ONCE):
            body = {"questions": [_question(each) for each in questions[at : at + ASKED_AT_ONCE]]}
            ids += self._call("PUT", _path("projects", project, "questions"), body)["ids"]
        return ids

    def put_clip(self, steps: bytes, origin: str = "") -> Clip:
        """Hand in a clip's steps, an archive of `tercih.data.steps`, and return what to ask about; again is a no-op."""
        return Clip(**json.loads(self._send("PUT", "/clips", steps, {})), origin=origin)

    def questions(self, project: str, **filters: Any) -> Iterator[dict[str, Any]]:
        """All that match `kind`, `state`, `run`, `step`, `rater`, `words`, `since` and `until` (days), page by page."""
        return self._pages(_path("projects", project, "questions"), filters, "")

    def answers(self, project: str, **filters: Any) -> Iterator[dict[str, Any]]:
        """All that stand and match; filters as for `questions`."""
        return self._pages(_path("projects", project, "answers"), filters, 0)

    def withdraw(self, project: str, question: str) -> None:
        self._call("POST", _path("projects", project, "questions", question, "withdraw"))

    def suggest(self, project: str, question: str, answer: Mapping[str, Any], source: str) -> None:
        body = {"answer": dict(answer), "source": source}
        self._call("PUT", _path("projects", project, "questions", question, "suggestion"), body)

    def tell(self, project: str, name: str, result: Mapping[str, Any]) -> None:
        """What a run that learns from a project's answers has to say, such as its curve; the newest stands."""
        self._call("PUT", _path("projects", project, "told", name), {"result": dict(result)})

    # What a rater does

    def claim(self, project: str) -> dict[str, Any] | None:
        """The seat held already, or a new one; None where there is none."""
        seat: dict[str, Any] | None = self._call("POST", _path("projects", project, "seats"))["seat"]
        return seat

    def submit(
        self,
        seat: int,
        answer: Mapping[str, Any],
        *,
        seconds: float | None = None,
        version: int | None = None,
        key: str | None = None,
    ) -> int:
        """Answer, or change the answer, and return its version. However often this is tried, it is one answer."""
        body = {"answer": dict(answer), "key": key or uuid4().hex, "seconds": seconds, "version": version}
        return int(self._call("PUT", _path("seats", seat, "answer"), body)["version"])

    def submit_and_claim(
        self, seat: int, answer: Mapping[str, Any], *, seconds: float | None = None
    ) -> dict[str, Any] | None:
        """Answer, and return the next seat (None where there is none), in one call."""
        body = {"answer": dict(answer), "key": uuid4().hex, "seconds": seconds, "next": True}
        found: dict[str, Any] | None = self._call("PUT", _path("seats", seat, "answer"), body)["seat"]
        return found

    def skip(self, seat: int, reason: str = "") -> None:
        self._call("POST", _path("seats", seat, "skip"), {"reason": reason, "key": uuid4().hex})

    def undo(self, project: str) -> dict[str, Any] | None:
        """Back to the latest answer or skip; None where there is nothing to take back."""
        seat: dict[str, Any] | None = self._call("POST", _path("projects", project, "undo"), {"key": uuid4().hex})[
            "seat"
        ]
        return seat

    # What was said

    def events(self, project: str, after: int = 0) -> Iterator[dict[str, Any]]:
        """Everything that has happened since event `after`, in order, until now; keep the last one's id."""
        while True:
            found = self._call("GET", _path("projects", project, "events"), after=after, limit=1000)
            yield from found["events"]
            if found["last"] == after:
                return
            after = found["last"]

    def export(self, project: str, out: Path, **options: Any) -> int:
        """Write the export as JSON Lines, whole or not at all, and return its size in bytes."""
        with whole(out) as part:
            part.write_bytes(self._send("GET", _path("projects", project, "export"), None, options))
            return part.stat().st_size

    # Calls

    def _pages(self, path: str, filters: Mapping[str, Any], after: str | int) -> Iterator[dict[str, Any]]:
        while page := self._call("GET", path, **filters, after=after, limit=500):
            yield from page
            after = page[-1]["id"]

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: Any) -> Any:
        return json.loads(self._send(method, path, body, query))

    def _send(self, method: str, path: str, body: Mapping[str, Any] | bytes | None, query: Mapping[str, Any]) -> bytes:
        asked = urlencode(
            {name: str(value).lower() if isinstance(value, bool) else value for name, value in query.items()}
        )
        url = self.url.rstrip("/") + path + (f"?{asked}" if asked else "")
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": kind}
        for attempt in range(1, self.tries + 1):
            try:
                with urlopen(Request(url, data, headers, method=method), timeout=self.timeout) as answer:
                    content: bytes = answer.read()
                    return content
            except HTTPError as error:
                if error.code not in BUSY or attempt == self.tries:
                    raise _refusal(error) from None
            except (URLError, HTTPException, OSError) as error:
                if attempt == self.tries:
                    reason = getattr(error, "reason", error)
                    raise ConnectionError(f"{self.url} cannot be reached after {attempt} tries: {reason}") from None
            time.sleep(self.wait * 2 ** (attempt - 1))
        raise AssertionError("the last try returns or raises")


def _refusal(error: HTTPError) -> ApiError:
    content = error.read()
    try:
        told = json.loads(content)
        return ApiError(str(told["error"]), error.code, told.get("where"))
    except (ValueError, KeyError, TypeError):
        return ApiError(f"{error.code} {error.reason}: is this the address of Tercih's API?", error.code)


def _path(*parts: str | int) -> str:
    return "".join(f"/{quote(str(part), safe='')}" for part in parts)


def _question(each: Question) -> dict[str, Any]:
    names = ("run", "step", "index", "kind", "sampler", "propensity", "votes")
    return {name: getattr(each, name) for name in names} | {
        "spec": dict(each.spec),
        "items": [_item(item) for item in each.items],
    }


def _item(item: Item) -> dict[str, Any]:
    rest = {"origin": item.origin, "columns": dict(item.columns)}
    if isinstance(item, Clip):
        return {name: getattr(item, name) for name in ("media", "digest", "seconds", "steps")} | rest
    return {"prompt": _plain(item.prompt), "completion": _plain(item.completion)} | rest


def _plain(content: Content) -> str | list[dict[str, str]]:
    return content if isinstance(content, str) else [{"role": m.role, "content": m.content} for m in content]
