"""Questions, suggestions, answers, what happened since, and the export."""

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Request
from fastapi.responses import StreamingResponse

from tercih.feedback.events import since
from tercih.feedback.exchange.export import ExchangeError, rows
from tercih.feedback.exchange.formats import line
from tercih.feedback.exchange.put import Asked, put
from tercih.feedback.manage import suggest, withdraw
from tercih.feedback.questions import Question
from tercih.feedback.search import Filters, find_answers, find_questions
from tercih.feedback.seats import QueueError, Unknown
from tercih.feedback.web.api_projects import known as known_project
from tercih.feedback.web.door import (
    LARGEST,
    After,
    Day,
    Filter,
    Limit,
    ProjectName,
    QuestionId,
    database_of,
    need,
    queue_of,
)
from tercih.feedback.web.keys import Key
from tercih.feedback.web.schemas import QuestionIn, QuestionsIn, SuggestionIn, known

routes = APIRouter()
Reads = Annotated[Key, Depends(need("read"))]
Writes = Annotated[Key, Depends(need("write"))]
AfterQuestion = Annotated[str, Query(max_length=20, pattern=r"^[A-Za-z0-9_-]*$")]
Archive = Annotated[bytes, Body(media_type="application/octet-stream", max_length=LARGEST)]
Step = Annotated[int | None, Query(ge=0, lt=2**31)]


@routes.put("/projects/{project}/questions", tags=["questions"], summary="Ask, all or none (scope write)")
def put_questions(request: Request, project: ProjectName, body: QuestionsIn, key: Writes) -> dict[str, Any]:
    """A question's id is a hash of its run, step and index: the same again changes nothing, another one of that id is
    refused. `new` counts those that were not there."""
    settings = queue_of(request).settings(project)
    asked = [_asked(each, place, settings.kind, settings.votes) for place, each in enumerate(body.questions)]
    taken = put(database_of(request), project, asked)
    return {"ids": [each.id for each in asked], "new": taken.questions}


@routes.put("/clips", tags=["questions"], summary="Hand in a clip's steps (scope write)")
def put_clip(request: Request, body: Archive, key: Writes) -> dict[str, Any]:
    """An archive as `tercih.data.steps` writes it; what comes back is the item to ask about, before there is a video.
    The same steps again change nothing."""
    if request.app.state.keep is None:
        raise QueueError("this server keeps no clips; start it with --clips FOLDER")
    try:
        clip = request.app.state.keep(body)
    except ValueError as error:
        raise ExchangeError(str(error)) from None
    return {name: getattr(clip, name) for name in ("media", "digest", "seconds", "steps", "columns")}


@routes.get("/projects/{project}/questions", tags=["questions"], summary="Find questions (scope read)")
def list_questions(
    request: Request,
    project: ProjectName,
    key: Reads,
    kind: Filter = "",
    state: Filter = "",
    run: Filter = "",
    step: Step = None,
    rater: Filter = "",
    words: Filter = "",
    since: Day = "",
    until: Day = "",
    after: AfterQuestion = "",
    limit: Limit = 100,
) -> list[dict[str, Any]]:
    """By id, from above `after`; `words` are looked for in the items; `since` and `until` are days of answers (UTC)."""
    known_project(request, project)
    filters = Filters(kind=kind, state=state, run=run, step=step, rater=rater, words=words, since=since, until=until)
    with database_of(request).transaction() as connection:
        return [_question(row) for row in find_questions(connection, project, filters, after, limit)]


@routes.get("/projects/{project}/questions/{question}", tags=["questions"], summary="One question (scope read)")
def read_question(request: Request, project: ProjectName, question: QuestionId, key: Reads) -> dict[str, Any]:
    with database_of(request).transaction() as connection:
        found = find_questions(connection, project, Filters(id=question), limit=1)
    if not found:
        raise Unknown(f"there is no question {question!r} in project {project!r}")
    return _question(found[0])


@routes.post(
    "/projects/{project}/questions/{question}/withdraw", tags=["questions"], summary="Ask no more (scope write)"
)
def withdraw_question(request: Request, project: ProjectName, question: QuestionId, key: Writes) -> dict[str, Any]:
    withdraw(database_of(request), project, question, key.rater)
    return {"id": question, "state": "withdrawn"}


@routes.put(
    "/projects/{project}/questions/{question}/suggestion", tags=["questions"], summary="A model's answer (scope write)"
)
def put_suggestion(
    request: Request, project: ProjectName, question: QuestionId, body: SuggestionIn, key: Writes
) -> dict[str, Any]:
    """Shown to the share of raters that the project names; the others are the comparison."""
    suggest(database_of(request), project, question, body.answer, body.source, key.rater)
    return {"id": question}


@routes.get("/projects/{project}/answers", tags=["answers"], summary="Find answers that stand (scope read)")
def list_answers(
    request: Request,
    project: ProjectName,
    key: Reads,
    kind: Filter = "",
    state: Filter = "",
    run: Filter = "",
    step: Step = None,
    rater: Filter = "",
    words: Filter = "",
    since: Day = "",
    until: Day = "",
    after: After = 0,
    limit: Limit = 100,
) -> list[dict[str, Any]]:
    """By their seats' ids, from above `after`; `words` are looked for in both; `since` and `until` are days, UTC."""
    known_project(request, project)
    filters = Filters(kind=kind, state=state, run=run, step=step, rater=rater, words=words, since=since, until=until)
    with database_of(request).transaction() as connection:
        return find_answers(connection, project, filters, after, limit)


@routes.get("/projects/{project}/events", tags=["answers"], summary="What happened since (scope read)")
def list_events(
    request: Request, project: ProjectName, key: Reads, after: After = 0, limit: Limit = 100
) -> dict[str, Any]:
    """In order, from above `after`: answers, edits, undos, skips, … Ask again with `last`, and none is missed."""
    known_project(request, project)
    with database_of(request).transaction() as connection:
        found = since(connection, project, after, limit)
    return {"events": found, "last": found[-1]["id"] if found else after}


@routes.get(
    "/projects/{project}/export",
    tags=["answers"],
    summary="All answers as JSON Lines (scope read)",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {}}, "description": "TRL's columns, then provenance"}},
)
def export(
    request: Request,
    project: ProjectName,
    key: Reads,
    kind: Filter = "",
    everything: bool = False,
    decided: bool = False,
) -> StreamingResponse:
    known_project(request, project)
    found = rows(database_of(request), project, kind=kind, everything=everything, decided=decided)

    def lines() -> Iterator[str]:
        for row in found:
            yield line(row)

    return StreamingResponse(lines(), media_type="application/x-ndjson")


def _asked(each: QuestionIn, place: int, kind: str, votes: int) -> Asked:
    where = f"questions.{place}"
    try:
        asked = Question(
            items=tuple(item.item() for item in each.items), run=each.run, step=each.step, index=each.index,
            kind=each.kind or kind, spec=each.spec, sampler=each.sampler, propensity=each.propensity,
            votes=each.votes or votes,
        )  # fmt: skip
    except ValueError as error:
        raise ExchangeError(f"{where}: {error}") from None
    return Asked(place=where, question=asked, state=each.state)


def _question(row: dict[str, Any]) -> dict[str, Any]:
    names = (
        "id", "project", "run", "step", "index", "kind", "spec", "sampler", "propensity", "state", "votes", "taken",
        "done", "repeats",
    )  # fmt: skip
    return {name: row[name] for name in names} | {"items": [known(item) for item in row["shown"]]}
