"""What a rater does: take a seat at a question, answer, skip, undo, change the answer. A key speaks for its rater."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from tercih.feedback.seats import Seat
from tercih.feedback.web.door import ProjectName, SeatId, need, queue_of
from tercih.feedback.web.keys import Key
from tercih.feedback.web.schemas import AnswerIn, SkipIn, UndoIn, shown

routes = APIRouter(tags=["seats"])
Labels = Annotated[Key, Depends(need("label"))]
HIDDEN = ("gold", "suggestion")  # of what belongs to a question


@routes.post("/projects/{project}/seats", summary="The next question (scope label)")
def claim(request: Request, project: ProjectName, key: Labels) -> dict[str, Any]:
    """The one held already, or a new one; null where there is none. Items stand in the order in which to show them, and
    `order` says which of the question's items each is: answers name items by that number (for pairs a is 0, b is 1)."""
    return {"seat": _seat(queue_of(request).claim(project, key.rater))}


@routes.get("/seats/{seat}", summary="A seat of one's own (scope label)")
def look(request: Request, seat: SeatId, key: Labels) -> dict[str, Any]:
    return {"seat": _seat(queue_of(request).look(seat, key.rater))}


@routes.put("/seats/{seat}/answer", summary="Answer, or change the answer (scope label)")
def submit(request: Request, seat: SeatId, body: AnswerIn, key: Labels) -> dict[str, Any]:
    """The same `key` again changes nothing. `version` is the one to replace, so that nobody overwrites unseen. With
    `next`, the question after it comes along, as claiming would give it: one call a judgement instead of two."""
    queue = queue_of(request)
    values: dict[str, Any] = {"key": body.key, "seconds": body.seconds, "version": body.version}
    if not body.next:
        return {"version": queue.submit(seat, key.rater, body.answer, **values)}
    version, following = queue.turn(seat, key.rater, body.answer, **values)
    return {"version": version, "seat": _seat(following)}


@routes.post("/seats/{seat}/skip", summary="Leave the question to others (scope label)")
def skip(request: Request, seat: SeatId, body: SkipIn, key: Labels) -> dict[str, Any]:
    queue_of(request).skip(seat, key.rater, reason=body.reason, key=body.key)
    return {"seat": None}


@routes.post("/projects/{project}/undo", summary="Take back the latest answer or skip (scope label)")
def undo(request: Request, project: ProjectName, body: UndoIn, key: Labels) -> dict[str, Any]:
    """The question is held again; null where there is nothing to take back. The log keeps both."""
    queue = queue_of(request)
    queue.settings(project)
    return {"seat": _seat(queue.undo(project, key.rater, key=body.key))}


def _seat(seat: Seat | None) -> dict[str, Any] | None:
    if seat is None:
        return None
    names = ("id", "question", "project", "kind", "state", "answer", "version", "expires")
    visible = {name: value for name, value in seat.spec.items() if name not in HIDDEN}
    suggestion = seat.spec.get("suggestion") if seat.shown.get("suggestion") else None
    return {name: getattr(seat, name) for name in names} | {
        "items": [shown(item) for item in seat.items],
        "order": list(seat.order),
        "spec": visible,
        "suggestion": suggestion,
        "notes_first": bool(seat.shown.get("notes_first")),
    }
