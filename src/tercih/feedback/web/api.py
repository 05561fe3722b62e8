"""The REST API: everything a program does with the labelling system. `/docs` and `/openapi.json` describe it.

app = api(database)      # an ASGI app; the web application mounts it at /api
"""

from collections.abc import Callable
from importlib.metadata import version

from fastapi import FastAPI

from tercih.feedback.database import Database
from tercih.feedback.queue import Queue
from tercih.feedback.web import api_projects, api_questions, api_seats
from tercih.feedback.web.door import PROBLEMS, Bounded, handle_errors
from tercih.feedback.web.limiter import Limiter
from tercih.records import Clip


def api(database: Database, queue: Queue | None = None, keep: Callable[[bytes], Clip] | None = None) -> FastAPI:
    """The app over an open database; `queue` is replaced in tests. `keep` puts a clip's steps that a program sends into
    the folder of clips; a ValueError says what is wrong with them. None: there is no folder."""
    app = FastAPI(
        title="Tercih",
        version=version("tercih"),
        description="Ask people, and hear what they said. Every route needs a key with the scope it names.",
        responses=PROBLEMS,
        redoc_url=None,
    )
    app.state.database = database
    app.state.by_address = Limiter(database=database, kind="key", most=40)
    app.state.queue = queue or Queue(database=database)
    app.state.keep = keep
    app.add_middleware(Bounded)
    handle_errors(app)
    for part in (api_projects, api_questions, api_seats):
        app.include_router(part.routes)
    return app
