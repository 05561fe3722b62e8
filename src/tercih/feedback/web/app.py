"""The web application: which address leads to which page, and who may open it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from tercih.feedback.database import Database
from tercih.feedback.queue import Queue
from tercih.feedback.web import chatting, elsewhere, judging, keying, labelling, leading, peopling, signing, watching
from tercih.feedback.web.middleware import Bounded, Strict
from tercih.feedback.web.visits import Page, Site, Visit, guarded, refusal, spoken

if TYPE_CHECKING:
    from tercih.feedback.web.oidc import Issuer

STATIC = Path(__file__).parent / "static"
MOST_BYTES = 1 << 20  # of a form
MOST_UPLOAD = 64 << 20  # of a file of questions
LARGER = {"/questions": MOST_UPLOAD, "/new": MOST_BYTES, "/api/clips": MOST_UPLOAD}


class Entry(NamedTuple):
    """`role` None: open to everybody."""

    method: str
    path: str
    page: Page
    role: str | None = "rater"


PAGES = (
    Entry("GET", "/login", signing.login_form, None),
    Entry("POST", "/login", signing.login, None),
    Entry("GET", "/join/{secret}", signing.join_form, None),
    Entry("POST", "/join/{secret}", signing.join, None),
    Entry("GET", "/join/{secret}/oidc", elsewhere.away_invited, None),
    Entry("GET", "/oidc", elsewhere.away, None),
    Entry("GET", "/oidc/back", elsewhere.returned, None),
    Entry("POST", "/language", signing.language, None),
    Entry("POST", "/logout", signing.logout),
    Entry("GET", "/", labelling.projects),
    Entry("GET", "/projects/{project}/label", labelling.label),
    Entry("POST", "/projects/{project}/undo", labelling.undo),
    Entry("GET", "/projects/{project}/stage", labelling.stage),
    Entry("GET", "/projects/{project}/guidelines", labelling.guidelines),
    Entry("POST", "/projects/{project}/guidelines", labelling.guidelines_read),
    Entry("GET", "/seats/{seat:int}", labelling.seat_page),
    Entry("POST", "/seats/{seat:int}", labelling.submit),
    Entry("POST", "/seats/{seat:int}/notes", labelling.notes),
    Entry("GET", "/seats/{seat:int}/feedback", labelling.feedback),
    Entry("GET", "/seats/{seat:int}/clips/{place:int}", labelling.clip),
    Entry("GET", "/projects/{project}/chat", chatting.start_form),
    Entry("POST", "/projects/{project}/chat", chatting.start),
    Entry("GET", "/chats/{chat}", chatting.chat),
    Entry("POST", "/chats/{chat}", chatting.speak),
    Entry("POST", "/chats/{chat}/again", chatting.again),
    Entry("POST", "/chats/{chat}/thumb", chatting.thumb),
    Entry("GET", "/projects/{project}/live", watching.live),
    Entry("POST", "/projects/{project}/live", watching.start),
    Entry("GET", "/acts/{act:int}/frame", watching.frame),
    Entry("POST", "/acts/{act:int}/signals", watching.press),
    Entry("POST", "/acts/{act:int}/end", watching.end),
    Entry("GET", "/lead", leading.overview, "lead"),
    Entry("GET", "/new", leading.new_form, "lead"),
    Entry("POST", "/new", leading.new, "lead"),
    Entry("GET", "/lead/{project}", leading.project, "lead"),
    Entry("GET", "/lead/{project}/settings", leading.edit_form, "lead"),
    Entry("POST", "/lead/{project}/settings", leading.edit, "lead"),
    Entry("POST", "/lead/{project}/questions", leading.questions, "lead"),
    Entry("GET", "/lead/{project}/guidelines", leading.guidelines, "lead"),
    Entry("POST", "/lead/{project}/guidelines", leading.write_guidelines, "lead"),
    Entry("POST", "/lead/{project}/exam/{rater}", leading.exam_again, "lead"),
    Entry("GET", "/lead/{project}/quality", judging.quality, "lead"),
    Entry("GET", "/lead/{project}/dissent", leading.dissent, "lead"),
    Entry("GET", "/lead/{project}/dissent/{question}", leading.disputed, "lead"),
    Entry("POST", "/lead/{project}/dissent/{question}", leading.decide, "lead"),
    Entry("GET", "/lead/{project}/dissent/{question}/clips/{place:int}", leading.disputed_clip, "lead"),
    Entry("GET", "/lead/{project}/answers", leading.answers, "lead"),
    Entry("GET", "/log", leading.log, "lead"),
    Entry("GET", "/keys", keying.keys, "lead"),
    Entry("POST", "/keys", keying.make, "lead"),
    Entry("POST", "/keys/{key}/revoke", keying.end, "lead"),
    Entry("GET", "/people", peopling.people, "lead"),
    Entry("POST", "/people/invite", peopling.invite, "lead"),
    Entry("POST", "/people/{rater}/state", peopling.set_state, "lead"),
    Entry("POST", "/people/{rater}/role", peopling.set_role, "admin"),
    Entry("POST", "/people/{rater}/erase", peopling.erase, "admin"),
)


def create_app(
    database: Database,
    *,
    clips: Path | None = None,
    more: Sequence[BaseRoute] = (),
    issuer: "Issuer | None" = None,
) -> Starlette:
    """`clips` is the folder that clips' media are relative to; `more` are routes of others, such as an API; by
    `issuer` people may sign in."""

    def wrong(request: Request, error: Exception) -> Response:
        visit = Visit(site=request.app.state.site, request=request, language=spoken(request))
        return refusal(visit, error)

    routes = [
        Route(entry.path, guarded(entry.page, entry.role), methods=[entry.method], name=entry.page.__name__)
        for entry in PAGES
    ]
    app = Starlette(
        routes=[*routes, *more, Mount("/static", StaticFiles(directory=STATIC))],
        middleware=[
            Middleware(Strict),
            Middleware(
                Bounded,
                most=MOST_BYTES,
                larger=LARGER,
            ),
        ],
        exception_handlers=dict.fromkeys((400, 404, 405, 413), wrong) | {Exception: wrong},
    )
    app.state.site = Site(database=database, queue=Queue(database=database), clips=clips, issuer=issuer)
    return app
