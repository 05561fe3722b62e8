"""One request and all that a page needs of it; how pages are rendered and refused.

A page is a plain function of a `Visit` that runs in a thread. `guarded` is the only way to it: it finds the session,
checks the role and, where something is changed, the token against forged requests.
"""

import hmac
import json
import sys
import time as clock
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from tercih.feedback.database import Database, StoreError
from tercih.feedback.kinds import AnswerError
from tercih.feedback.projects import ProjectError
from tercih.feedback.queue import Queue, QueueError
from tercih.feedback.web import accounts
from tercih.feedback.web.accounts import AccountError, Session
from tercih.feedback.web.languages import LANGUAGES, preferred, say
from tercih.feedback.web.limiter import Limiter
from tercih.records import Clip, Item

if TYPE_CHECKING:
    from tercih.feedback.web.oidc import Issuer

COOKIE, LANGUAGE_COOKIE = "tercih", "tercih-language"
ERRORS = (400, 403, 404, 405, 409, 410, 413, 422, 429, 500, 503)  # that have a sentence of their own


class Refused(Exception):
    """A page that is not given; `word` names its sentence, or that of the status says it."""

    def __init__(self, status: int, word: str = "", **values: object) -> None:
        super().__init__(word or str(status))
        self.status, self.word, self.values = status, word, values


@dataclass(kw_only=True)
class Site:
    """What all pages share."""

    database: Database
    queue: Queue
    clips: Path | None = None
    issuer: "Issuer | None" = None
    """The other service by which people may sign in."""
    by_login: Limiter = field(init=False)
    by_address: Limiter = field(init=False)
    by_speaker: Limiter = field(init=False)
    pages: Environment = field(default_factory=lambda: environment())

    def __post_init__(self) -> None:
        self.by_login = Limiter(database=self.database, kind="login", most=8)
        self.by_address = Limiter(database=self.database, kind="address", most=40)
        self.by_speaker = Limiter(database=self.database, kind="speaker", most=60)


@dataclass(kw_only=True)
class Visit:
    """A request with its form read and its session found."""

    site: Site
    request: Request
    language: str
    form: FormData = field(default_factory=FormData)
    session: Session | None = None

    @property
    def who(self) -> Session:
        assert self.session is not None, "guarded() lets nobody in without"
        return self.session

    @property
    def issuer(self) -> "Issuer":
        if self.site.issuer is None:
            raise Refused(404)
        return self.site.issuer

    @property
    def path(self) -> Mapping[str, Any]:
        return self.request.path_params

    @property
    def address(self) -> str:
        return self.request.client.host if self.request.client else ""

    @property
    def secure(self) -> bool:
        return self.request.url.scheme == "https"

    def field(self, name: str) -> str:
        """A field of the form; empty where it is missing."""
        value = self.form.get(name, "")
        return "" if isinstance(value, UploadFile) else value

    def query(self, name: str) -> str:
        return self.request.query_params.get(name, "")

    def say(self, key: str, **values: object) -> str:
        return say(self.language, key, **values)

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        role = self.session.role if self.session else ""
        shared = {
            "visit": self, "say": self.say, "languages": LANGUAGES, "csrf": self.session.csrf if self.session else "",
            "leads": accounts.ranks(role, "lead"), "admin": role == "admin", "here": here(self.request),
        }  # fmt: skip
        return HTMLResponse(self.site.pages.get_template(template).render(shared | values), status)

    def go(self, place: str) -> Response:
        """To another page, by GET."""
        return RedirectResponse(place, 303)


Page = Callable[[Visit], Response]


def guarded(page: Page, role: str | None) -> Callable[[Request], Awaitable[Response]]:
    """`page` behind the checks; `role` None: open to everybody."""

    async def endpoint(request: Request) -> Response:
        visit = Visit(site=request.app.state.site, request=request, language=spoken(request))
        refused = await run_in_threadpool(admit, visit, role)
        if refused is not None:
            return refused
        if changes(request):  # a stranger's form is not even read
            async with request.form(max_files=1, max_fields=200) as visit.form:
                return await run_in_threadpool(answer, page, visit)
        return await run_in_threadpool(answer, page, visit)

    return endpoint


def admit(visit: Visit, role: str | None) -> Response | None:
    """Find the session; None where the visitor may go on, else what they see instead."""
    try:
        visit.session = accounts.find_session(visit.site.database, visit.request.cookies.get(COOKIE, ""))
        if visit.session is not None:
            visit.language = visit.session.language
        if role is None or (visit.session is not None and accounts.ranks(visit.session.role, role)):
            return None
        if visit.session is None and not changes(visit.request):
            return visit.go("/login")
        raise Refused(403, "error.signed_out" if visit.session is None else "")
    except Exception as error:
        return refusal(visit, error)


def answer(page: Page, visit: Visit) -> Response:
    try:
        if changes(visit.request):
            not_forged(visit)
        storable(visit)
        return page(visit)
    except Exception as error:
        return refusal(visit, error)


def changes(request: Request) -> bool:
    return request.method not in ("GET", "HEAD")


def not_forged(visit: Visit) -> None:
    """The token of the session; where there is no session yet, the browser must say that the form is ours."""
    if visit.session is not None:
        if not hmac.compare_digest(visit.session.csrf.encode(), visit.field("csrf").encode("utf-8", "replace")):
            raise Refused(403, "error.forged")
        return
    headers = visit.request.headers
    origin = headers.get("origin")
    strange = origin is not None and urlsplit(origin).netloc != headers.get("host")
    if strange or headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise Refused(403, "error.forged")


def storable(visit: Visit) -> None:
    """PostgreSQL keeps no NUL in a text, and no browser sends one."""
    if any("\0" in str(value) for value in visit.path.values()):
        raise Refused(404)
    said = (*visit.request.query_params.values(), *visit.form.values())
    if any(isinstance(value, str) and "\0" in value for value in said):
        raise Refused(422)


def refusal(visit: Visit, error: Exception) -> Response:
    """One sentence; what it was exactly stays on the server."""
    match error:
        case Refused():
            status, said = error.status, visit.say(error.word, **error.values) if error.word else ""
        case AccountError():
            status, said = 422, visit.say(error.word)
        case QueueError():
            status, said = error.status, ""
        case AnswerError():
            status, said = 422, ""
        case ProjectError():
            status, said = 422, str(error)
        case HTTPException():
            status, said = error.status_code, ""
        case StoreError():
            status, said = 503, ""
        case _:
            status, said = 500, ""
    if status >= 500:
        print(f"{visit.request.method} {visit.request.url.path}: {error}", file=sys.stderr)
        if status == 500:
            traceback.print_exception(error, file=sys.stderr)
    word = f"error.{status}" if status in ERRORS else "error.400" if status < 500 else "error.500"
    return visit.page("error.html", status, sentence=said or visit.say(word))


def spoken(request: Request) -> str:
    chosen = request.cookies.get(LANGUAGE_COOKIE, "")
    return chosen if chosen in LANGUAGES else preferred(request.headers.get("accept-language", ""))


def here(request: Request) -> str:
    """The address to come back to."""
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def local(place: str) -> str:
    """An address within this site, or the first page."""
    return place if place.startswith("/") and not place.startswith(("//", "/\\")) and place.isprintable() else "/"


def exact(text: str) -> Markup:
    """Text as it is: escaped, and such that the browser keeps carriage returns and what is no character."""
    plain = str(text).encode("utf-8", "replace").decode()
    return Markup(str(escape(plain)).replace("\r", "&#13;"))


def environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"exact": exact, "when": when, "readable": readable, "shown": shown}
    return made


def when(time: float | None) -> str:
    return "–" if time is None else clock.strftime("%Y-%m-%d %H:%M:%S UTC", clock.gmtime(time))


def readable(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def shown(value: Item) -> str:
    """An item in a list of the lead's: what raters saw of it."""
    if isinstance(value, Clip):
        return value.digest
    parts = (
        [content] if isinstance(content, str) else [turn.content for turn in content]
        for content in (value.prompt, value.completion)
    )
    return "\n→ ".join(" ".join(part) for part in parts)
