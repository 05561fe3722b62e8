"""What every request to the API passes: the size of its body, its key, and errors that are one sentence."""

import logging
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import AfterValidator
from sqlalchemy.exc import IntegrityError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tercih.feedback.database import Database, StoreError
from tercih.feedback.exchange.export import ExchangeError
from tercih.feedback.kinds import AnswerError
from tercih.feedback.projects import ProjectError
from tercih.feedback.queue import Queue, QueueError
from tercih.feedback.search import day
from tercih.feedback.web.keys import Key, KeyRefused, KeyUnknown, check_key
from tercih.feedback.web.schemas import Problem

logger = logging.getLogger(__name__)

LARGEST = 16 * 2**20  # bytes of a body
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": what}
    for status, what in {
        400: "The body cannot be read", 401: "No key, or one that is not known", 403: "The key may not do this",
        404: "There is no such thing", 409: "It is not as the request assumes", 410: "Too late",
        413: "The body is too large", 422: "The request says something that cannot be",
        429: "Too many unknown keys", 503: "The database is busy",
    }.items()
}  # fmt: skip

PLAIN = r"^[^\x00-\x1f\x7f]*$"
ProjectName = Annotated[str, Path(min_length=1, max_length=64, pattern=PLAIN)]
QuestionId = Annotated[str, Path(min_length=1, max_length=20, pattern=r"^[A-Za-z0-9_-]+$")]
SeatId = Annotated[int, Path(ge=1, lt=2**53)]
Filter = Annotated[str, Query(max_length=200, pattern=PLAIN)]


def a_day(text: str) -> str:
    """Raises ValueError for a day that is none; empty is no day."""
    if text:
        day(text)
    return text


Day = Annotated[str, Query(max_length=10, description="A day, such as 2026-11-05, in UTC"), AfterValidator(a_day)]
After = Annotated[int, Query(ge=0, lt=2**53)]
Limit = Annotated[int, Query(ge=1, le=1000)]

bearer = HTTPBearer(auto_error=False, description="A key with the scope that the route names")


def database_of(request: Request) -> Database:
    found: Database = request.app.state.database
    return found


def queue_of(request: Request) -> Queue:
    found: Queue = request.app.state.queue
    return found


def need(scope: str) -> Callable[..., Key]:
    """A dependency: the request's key, which has this scope."""

    def check(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)] = None
    ) -> Key:
        try:
            key = check_key(database_of(request), request.headers.get("authorization"))
        except KeyUnknown:
            limiter, address = request.app.state.by_address, request.client.host if request.client else ""
            if not limiter.allows(address):
                raise KeyRefused("too many unknown keys from this address; wait five minutes", 429) from None
            limiter.failed(address)
            raise
        key.need(scope)
        return key

    return check


class Bounded:
    """Refuses bodies of more than `most` bytes, whether their length is said or not."""

    def __init__(self, app: ASGIApp, most: int = LARGEST) -> None:
        self.app = app
        self.most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"content-length", b"0")
        got = 0

        async def counted() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > self.most:
                raise HTTPException(413, self._words())
            return message

        if said.isdigit() and int(said) > self.most:
            await problem(413, self._words())(scope, receive, send)
            return
        await self.app(scope, counted, send)

    def _words(self) -> str:
        return f"a request may have {self.most // 2**20} MB; send less at a time"


def problem(status: int, words: str, where: str | None = None) -> JSONResponse:
    """An error; letters that cannot be written in UTF-8 are replaced."""
    clean = {name: None if text is None else text.encode(errors="replace").decode() for name, text in
             {"error": words, "where": where}.items()}  # fmt: skip
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse(clean, status, headers=headers)


def handle_errors(app: FastAPI) -> None:
    """Every error that users can cause has its status and one sentence."""

    def answer(request: Request, error: Exception) -> JSONResponse:
        if isinstance(error, RequestValidationError):
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"][1:])
            return problem(422, f"{place or first['loc'][0]}: {first['msg']}", place or None)
        if isinstance(error, HTTPException):
            return problem(error.status_code, str(error.detail))
        if isinstance(error, KeyRefused | QueueError):
            return problem(error.status, str(error))
        if isinstance(error, AnswerError):
            return problem(422, str(error), error.where)
        if isinstance(error, ProjectError | ExchangeError):
            return problem(422, str(error))
        if isinstance(error, IntegrityError):
            return problem(409, "somebody else was faster; try again")
        logger.error("%s %s: %s", request.method, request.url.path, error)
        return problem(503, "the database is busy or cannot be reached; try again")  # its own words name its place

    kinds = (
        RequestValidationError, HTTPException, KeyRefused, AnswerError, ProjectError, ExchangeError, StoreError,
        IntegrityError,
    )  # fmt: skip
    for kind in kinds:
        app.add_exception_handler(kind, answer)
