"""A rater's pages: which project, what is asked, and what becomes of the answer."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from starlette.responses import FileResponse, Response

from tercih.feedback import footage
from tercih.feedback.kinds import MOST_CHARACTERS, AnswerError
from tercih.feedback.overlap import is_right
from tercih.feedback.seats import Seat
from tercih.feedback.web import training
from tercih.feedback.web.cards import answer_in_words, card_of
from tercih.feedback.web.forms import answer_of, seconds_of
from tercih.feedback.web.visits import Refused, Visit
from tercih.records import Clip

TRAINING = ("tutorial", "exam")


def projects(visit: Visit) -> Response:
    found = training.projects_of(visit.site.database, visit.who.rater)
    return visit.page("projects.html", projects=found, paused=visit.who.state == "paused")


def label(visit: Visit) -> Response:
    """The question this rater is at. `?besides=ID` asks for the one after it, to have it ready."""
    name, who, site = visit.path["project"], visit.who.rater, visit.site
    settings = site.queue.settings(name)
    if visit.who.state == "paused":
        raise Refused(403, "error.paused")
    before = training.entered(site.database, name, who)
    besides = visit.query("besides")
    if besides and (before.stage != "passed" or not besides.isdecimal()):
        return visit.page("empty.html", 404, project=settings)
    if before.unread:
        return visit.go(f"/projects/{name}/guidelines")
    if before.stage == "failed":
        return visit.go(f"/projects/{name}/stage")
    seat = site.queue.claim(name, who, besides=[int(besides)] if besides else [])
    after = training.entered(site.database, name, who)
    if after.stage != before.stage and after.trained:
        return visit.go(f"/projects/{name}/stage")
    if seat is None:
        return visit.page("empty.html", project=settings)
    return question(visit, seat)


def stage(visit: Visit) -> Response:
    """What the tutorial or the exam came to."""
    name, who = visit.path["project"], visit.who.rater
    settings = visit.site.queue.settings(name)
    marks = training.marks(visit.site.database, name, who)
    entered = training.entered(visit.site.database, name, who)
    return visit.page("stage.html", project=settings, stage=entered.stage, right=sum(marks), asked=len(marks))


def seat_page(visit: Visit) -> Response:
    """A question that is open to this rater still, such as one whose answer was taken back."""
    seat = visit.site.queue.look(visit.path["seat"], visit.who.rater)
    if seat.state == "leased" or (seat.state == "expired" and chat_of(seat)):  # of a chat, nobody else has taken it
        return question(visit, seat)
    return visit.go(after(seat))


def question(
    visit: Visit, seat: Seat, status: int = 200, wrong: str = "", said: Mapping[str, str] | None = None
) -> Response:
    settings, place = visit.site.queue.settings(seat.project), f"/seats/{seat.id}"
    notes = training.notes(visit.site.database, seat.id) if seat.shown.get("notes_first") else ""
    member = training.entered(visit.site.database, seat.project, seat.rater)
    values: dict[str, Any] = {
        "project": settings, "place": place, "card": card_of(seat, f"{place}/clips", drawing_of(visit, seat)),
        "version": seat.version,
        "key": uuid.uuid4().hex, "undo_key": uuid.uuid4().hex, "wrong": wrong,
        "said": said or said_before(seat),
        "notes": notes, "seat": seat.id,
        "training": member.stage if member.stage in TRAINING and not chat_of(seat) else "", "answered": member.answered,
        "guided": member.guided, "chat": chat_of(seat),
        "before": answer_in_words(seat, seat.answer) if seat.answer else None,
        "note": (said or {}).get("note", "") or (seat.answer or {}).get("note", ""),
    }  # fmt: skip
    if seat.shown.get("notes_first") and not notes:
        return visit.page("notes.html", status, **values)
    return visit.page("label.html", status, **values)


def said_before(seat: Seat) -> dict[str, str]:
    """Moments that were given once, where the answer was taken back: nobody watches again to give the same."""
    signals = (seat.answer or {}).get("signals")
    return {"signals": json.dumps(signals)} if signals else {}


def notes(visit: Visit) -> Response:
    """What a good answer would be, written before the answers are seen; from now on they are shown."""
    seat = visit.site.queue.look(visit.path["seat"], visit.who.rater)
    written = visit.field("notes").strip()
    if not written:
        return question(visit, seat, 422, visit.say("wrong.notes"))
    if len(written) > MOST_CHARACTERS:
        return question(visit, seat, 422, visit.say("wrong.long"))
    training.write_notes(visit.site.database, seat, written)
    return visit.go(f"/seats/{seat.id}")


def submit(visit: Visit) -> Response:
    """An answer, a "cannot judge", or a skip. The same form sent twice is one answer."""
    queue, who, said = visit.site.queue, visit.who.rater, fields(visit)
    seat = queue.look(visit.path["seat"], who)
    settings = queue.settings(seat.project)
    onwards = after(seat)
    if visit.who.state == "paused":
        raise Refused(403, "error.paused")
    in_training = training.state_of(visit.site.database, seat.question) in TRAINING
    if said.get("say") == "skip":
        if in_training:
            return question(visit, seat, 422, visit.say("wrong.skip"), said)
        queue.skip(seat.id, who, reason=said.get("note", ""), key=key_of(said))
        return visit.go(onwards)
    before = training.notes(visit.site.database, seat.id)
    if seat.shown.get("notes_first") and not before:
        return question(visit, seat, 422, visit.say("wrong.notes"))
    version = said.get("version", "")
    try:
        answer = answer_of(seat, said, settings, before)
        queue.submit(
            seat.id,
            who,
            answer,
            key=key_of(said),
            seconds=seconds_of(said),
            version=int(version) if version.isdecimal() else None,
        )
    except AnswerError as error:
        if seat.state != "leased":
            raise
        return question(visit, seat, 422, visit.say(f"wrong.{error.where}", count=len(seat.items)), said)
    if in_training and training.state_of(visit.site.database, seat.question) == "tutorial":
        return visit.go(f"/seats/{seat.id}/feedback")
    return visit.go(onwards)


def after(seat: Seat) -> str:
    """Where a rater goes on who has answered."""
    return f"/chats/{chat_of(seat)}" if chat_of(seat) else f"/projects/{seat.project}/label"


def chat_of(seat: Seat) -> str:
    """The conversation that a question is part of; empty where there is none."""
    return str(seat.spec.get("chat", ""))


def feedback(visit: Visit) -> Response:
    """After a question of the tutorial: whether it was right, and why."""
    seat = visit.site.queue.look(visit.path["seat"], visit.who.rater)
    if seat.state != "done" or training.state_of(visit.site.database, seat.question) != "tutorial":
        raise Refused(404)
    gold = seat.spec.get("gold", {})
    return visit.page(
        "feedback.html",
        project=visit.site.queue.settings(seat.project),
        card=replace(card_of(seat, f"/seats/{seat.id}/clips", drawing_of(visit, seat)), suggestion=None),
        right=is_right(seat.answer, seat.spec),
        given=answer_in_words(seat, seat.answer or {}),
        expected=answer_in_words(seat, gold) if gold else None,
        explanation=str(seat.spec.get("explanation", "")),
    )


def undo(visit: Visit) -> Response:
    name = visit.path["project"]
    seat = visit.site.queue.undo(name, visit.who.rater, key=key_of(fields(visit)))
    return visit.go(f"/projects/{name}/label" if seat is None else f"/seats/{seat.id}")


def clip(visit: Visit) -> Response:
    """A clip of a question that was given to this rater."""
    return clip_of(visit, visit.site.queue.look(visit.path["seat"], visit.who.rater))


def drawing_of(visit: Visit, seat: Seat) -> frozenset[int]:
    """The places of a question's clips that are still being drawn; they are asked for before anybody looks."""
    folder = visit.site.clips
    return frozenset() if folder is None else footage.ask_missing(visit.site.database, folder, seat.items)


def clip_of(visit: Visit, seat: Seat) -> Response:
    """By its place on the page: a file's name would tell what made it. 202 while it is being drawn."""
    place, folder = visit.path["place"], visit.site.clips
    shown = seat.items[place] if place < len(seat.items) else None
    if folder is None or not isinstance(shown, Clip):
        raise Refused(404)
    file = footage.video(folder, shown)
    if file is None and footage.ask(visit.site.database, shown):
        return Response(status_code=202, headers={"retry-after": "1"})
    if file is None:
        raise Refused(404)
    return FileResponse(file, headers={"cache-control": "private, max-age=3600"})


def guidelines(visit: Visit) -> Response:
    name = visit.path["project"]
    settings = visit.site.queue.settings(name)
    member = training.entered(visit.site.database, name, visit.who.rater)
    newest = training.newest_guideline(visit.site.database, name)
    if newest is None:
        raise Refused(404)
    return visit.page("guidelines.html", project=settings, guideline=newest, unread=member.unread)


def guidelines_read(visit: Visit) -> Response:
    name, version = visit.path["project"], visit.field("version")
    visit.site.queue.settings(name)
    if not version.isdecimal():
        raise Refused(422)
    training.has_read(visit.site.database, name, visit.who.rater, int(version))
    return visit.go(f"/projects/{name}/label")


def fields(visit: Visit) -> dict[str, str]:
    return {name: value for name, value in visit.form.items() if isinstance(value, str)}


def key_of(said: Mapping[str, str]) -> str:
    """The key that the page was made with: sent again, it is the same answer."""
    try:
        return uuid.UUID(hex=said.get("key", "")).hex
    except ValueError:
        raise Refused(422, "wrong.key") from None
