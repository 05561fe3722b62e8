"""A rater watches an agent act, and says good or bad as it does."""

import uuid

from starlette.responses import Response

from tercih.feedback import acts
from tercih.feedback.kinds import AnswerError
from tercih.feedback.projects import Project
from tercih.feedback.web import training
from tercih.feedback.web.labelling import fields, key_of
from tercih.feedback.web.visits import Refused, Visit

PATIENCE = 5.0  # seconds after which a rater is told that no worker has come
RUNNING = ("waiting", "nobody", "acting")


def live(visit: Visit) -> Response:
    """The act this rater is at, or a button that starts one."""
    settings = settings_of(visit)
    if (elsewhere := before(visit, settings)) is not None:
        return elsewhere
    act = acts.current(visit.site.database, settings.id, visit.who.rater)
    state = state_of(act) if act else ""
    shown = acts.newest_frame(visit.site.database, act.id) if act and state in RUNNING else None
    heard = acts.signals_since(visit.site.database, act.id) if act else []
    said = acts.standing(heard)
    held = next((each.action for each in reversed(heard) if each.action is not None), -1)
    return visit.page(
        "live.html", project=settings, act=act, state=state, running=state in RUNNING, shown=shown, held=held,
        key=uuid.uuid4().hex, tally="".join("+" if each.value > 0 else "−" for each in said), count=len(said),
    )  # fmt: skip


def start(visit: Visit) -> Response:
    settings = settings_of(visit)
    if (elsewhere := before(visit, settings)) is not None:
        return elsewhere
    acts.start(visit.site.database, settings, visit.who.rater)
    return visit.go(f"/projects/{settings.id}/live")


def frame(visit: Visit) -> Response:
    """The newest picture, if it is of a step behind `?after=`; how the act stands is said in the headers."""
    act = acts.look(visit.site.database, visit.path["act"], visit.who.rater)
    after = visit.query("after")
    found = acts.newest_frame(visit.site.database, act.id, int(after) if after.isdecimal() and len(after) < 9 else -1)
    headers = {"x-state": state_of(act)}
    if found is None:
        return Response(status_code=204, headers=headers)
    headers |= {"x-step": str(found.step), "x-seconds": str(found.seconds)}
    return Response(found.jpeg, media_type="image/jpeg", headers=headers)


def press(visit: Visit) -> Response:
    """+1 or -1 at a step, or 0 to take the last one back; or `action`, what is done in the agent's place (-1: no
    longer). The same form sent twice is one signal."""
    said = fields(visit)
    act = acts.look(visit.site.database, visit.path["act"], visit.who.rater)
    try:
        action = int(said["action"]) if "action" in said else None
        value = int(said.get("value", "")) if action is None else 0
        step, seconds = int(said.get("step", "")), float(said.get("seconds", ""))
    except ValueError:
        raise Refused(422, "wrong.signals") from None
    try:
        acts.press(
            visit.site.database, act.id, visit.who.rater, value=value, step=step, seconds=seconds, mark=key_of(said),
            action=action,
        )  # fmt: skip
    except AnswerError:
        raise Refused(422, "wrong.signals") from None
    return Response(status_code=204) if said.get("quiet") else visit.go(f"/projects/{act.project}/live")


def end(visit: Visit) -> Response:
    act = acts.look(visit.site.database, visit.path["act"], visit.who.rater)
    acts.end(visit.site.database, act.id, visit.who.rater)
    return visit.go(f"/projects/{act.project}/live")


def settings_of(visit: Visit) -> Project:
    settings = visit.site.queue.settings(visit.path["project"])
    if not settings.environment:
        raise Refused(404)
    return settings


def before(visit: Visit, settings: Project) -> Response | None:
    """Where this rater has to go first: guidelines, tutorial, exam."""
    if visit.who.state == "paused":
        raise Refused(403, "error.paused")
    member = training.entered(visit.site.database, settings.id, visit.who.rater)
    if member.unread:
        return visit.go(f"/projects/{settings.id}/guidelines")
    if member.trained and member.stage != "passed":
        return visit.go(f"/projects/{settings.id}/label")
    return None


def state_of(act: acts.Act) -> str:
    """As a word of the catalogues: "nobody" where no worker has come."""
    return "nobody" if act.waits > PATIENCE else act.state
