"""Talking to the current policy: a conversation, a thumb on an answer, another answer to compare.

The model is not here: `tercih worker` answers, and the page asks again until it has. What is judged goes the way of
every other question; a comparison has its page (`labelling.question`) and leads back.
"""

import re
import uuid
from contextlib import suppress

import sqlalchemy as sa
from starlette.responses import Response

from tercih.feedback import chats
from tercih.feedback.chats import MOST_CHARACTERS, MOST_TURNS, Chat
from tercih.feedback.projects import Project
from tercih.feedback.questions import Question
from tercih.feedback.queue import QueueError, Seat
from tercih.feedback.store import Store
from tercih.feedback.web import training
from tercih.feedback.web.forms import answer_of, seconds_of
from tercih.feedback.web.labelling import TRAINING, fields, key_of
from tercih.feedback.web.visits import Refused, Visit

PATH = re.compile(r"\S*[/\\]\S*")  # of a machine that is not the rater's
LONGEST_ERROR = 300


def start_form(visit: Visit, status: int = 200, wrong: str = "", text: str = "") -> Response:
    name = visit.path["project"]
    settings, elsewhere = entered(visit, name)
    if elsewhere:
        return elsewhere
    earlier = chats.earlier(visit.site.database, name, visit.who.rater)
    return visit.page(
        "chat_start.html", status, project=settings, earlier=earlier, wrong=wrong, text=text, key=uuid.uuid4().hex,
        most=MOST_CHARACTERS,
    )  # fmt: skip


def start(visit: Visit) -> Response:
    """A conversation begins with its first message. The same form sent twice is one conversation."""
    name, said = visit.path["project"], message_of(visit)
    _, elsewhere = entered(visit, name)
    if elsewhere:
        return elsewhere
    if wrong := wrong_with(visit, said):
        return start_form(visit, 422, wrong, said)
    key = key_of(fields(visit))
    bounded(visit)
    return visit.go(place(chats.begin(visit.site.database, name, visit.who.rater, said, key)))


def chat(visit: Visit) -> Response:
    """The conversation, or the two answers to compare. With `?seen=…` it is given only if something is new."""
    now, settings, elsewhere = looked_up(visit)
    if elsewhere:
        return elsewhere
    if visit.query("seen") == state_of(now):
        return Response(status_code=204)
    return shown(visit, now, settings)


def speak(visit: Visit) -> Response:
    now, settings, elsewhere = looked_up(visit)
    if elsewhere:
        return elsewhere
    said = message_of(visit)
    if wrong := wrong_with(visit, said):
        return shown(visit, now, settings, 422, wrong, said)
    turn = turn_of(visit)
    bounded(visit)
    try:
        chats.speak(visit.site.database, now.id, now.rater, said, turn)
    except QueueError:
        now = chats.read(visit.site.database, now.id, now.rater)
        return shown(visit, now, settings, 409, visit.say("chat.meanwhile"), said)
    return visit.go(place(now.id))


def again(visit: Visit) -> Response:
    """Another answer: in place of one that failed, or to compare."""
    now, _, elsewhere = looked_up(visit)
    if elsewhere:
        return elsewhere
    turn = turn_of(visit)
    bounded(visit)
    chats.again(visit.site.database, now.id, now.rater, turn)
    return visit.go(place(now.id))


def thumb(visit: Visit) -> Response:
    now, settings, elsewhere = looked_up(visit)
    if elsewhere:
        return elsewhere
    said, version = fields(visit), visit.field("version")
    if turn_of(visit) != len(now.turns) - 1 or now.stage not in ("answered", "same", "failed") or not now.last.answers:
        return shown(visit, now, settings, 409, visit.say("chat.meanwhile"))
    if said.get("say") not in ("yes", "no"):
        return shown(visit, now, settings, 422, visit.say("wrong.good"))
    key, seat = key_of(said), seat_at(visit, now.thumb)
    visit.site.queue.submit(
        seat.id,
        now.rater,
        answer_of(seat, said, settings),
        key=key,
        seconds=seconds_of(said),
        version=int(version) if version.isdecimal() else None,
    )
    return visit.go(place(now.id))


def shown(visit: Visit, now: Chat, settings: Project, status: int = 200, wrong: str = "", text: str = "") -> Response:
    if now.stage == "compare":
        return visit.go(f"/seats/{seat_at(visit, now.pair).id}")
    return visit.page(
        "chat.html", status, project=settings, chat=now, before=chats.messages_of(now.turns[:-1]), state=state_of(now),
        error=one_sentence(now.error), full=len(now.turns) >= MOST_TURNS, wrong=wrong, text=text,
        key=uuid.uuid4().hex, undo_key=uuid.uuid4().hex, most=MOST_CHARACTERS, most_turns=MOST_TURNS,
    )  # fmt: skip


def seat_at(visit: Visit, asked: Question) -> Seat:
    """The question is asked, once, and this rater sits at it."""
    with suppress(sa.exc.IntegrityError):  # another window of theirs was faster
        Store(visit.site.database).ask([asked], state="chat")
    return visit.site.queue.sit(asked.project, asked.id, visit.who.rater)


# Who may talk, and what is said


def entered(visit: Visit, name: str) -> tuple[Project, Response | None]:
    """The project, and where a rater is sent first who has guidelines to read or an exam to pass."""
    settings = visit.site.queue.settings(name)
    if not settings.chat:
        raise Refused(404)
    if visit.who.state == "paused":
        raise Refused(403, "error.paused")
    member = training.entered(visit.site.database, name, visit.who.rater)
    if member.unread:
        return settings, visit.go(f"/projects/{name}/guidelines")
    if member.stage == "failed" or (member.trained and member.stage in TRAINING):
        return settings, visit.go(f"/projects/{name}/label")
    return settings, None


def looked_up(visit: Visit) -> tuple[Chat, Project, Response | None]:
    """The conversation of this address, which is this rater's own."""
    now = chats.read(visit.site.database, visit.path["chat"], visit.who.rater)
    return now, *entered(visit, now.project)


def bounded(visit: Visit) -> None:
    """Every question to the model is work for a worker."""
    if not visit.site.by_speaker.takes(visit.who.rater):
        raise Refused(429)


def message_of(visit: Visit) -> str:
    return visit.field("text").replace("\r\n", "\n").replace("\0", "").strip()


def wrong_with(visit: Visit, said: str) -> str:
    if not said:
        return visit.say("chat.empty")
    return visit.say("chat.long", count=MOST_CHARACTERS) if len(said) > MOST_CHARACTERS else ""


def turn_of(visit: Visit) -> int:
    """Which turn the page was at that the form came from."""
    turn = visit.field("turn")
    if not turn.isdecimal() or len(turn) > 3:
        raise Refused(422, "wrong.key")
    return int(turn)


def state_of(now: Chat) -> str:
    return f"{len(now.turns)}.{len(now.last.answers)}.{now.stage}"


def one_sentence(error: str) -> str:
    """Why a job failed, as far as it concerns a rater: no file of the worker's, for its name may be the policy's."""
    return PATH.sub("…", " ".join(error.split()))[:LONGEST_ERROR]


def place(key: str) -> str:
    return f"/chats/{key}#latest"
