"""The lead's pages: make projects, put questions, watch how it goes, decide where raters disagree."""

import json
import re
from dataclasses import MISSING, asdict, fields
from typing import Any

from starlette.datastructures import UploadFile
from starlette.responses import Response

from tercih.feedback.exchange import uploads
from tercih.feedback.exchange.uploads import UploadError
from tercih.feedback.kinds import KINDS, MOST_CHARACTERS, AnswerError
from tercih.feedback.projects import Project, ProjectError, make_project
from tercih.feedback.samplers import RULES
from tercih.feedback.search import Filters, day
from tercih.feedback.store import Store
from tercih.feedback.web import oversight
from tercih.feedback.web.cards import answer_in_words, card_of
from tercih.feedback.web.forms import answer_of
from tercih.feedback.web.labelling import clip_of, drawing_of
from tercih.feedback.web.labelling import fields as said
from tercih.feedback.web.visits import Refused, Visit

COUNTED = ("open", "full", "closed", "dissent", "withdrawn", "gold", "tutorial", "exam", "repeat", "chat")
FOUND = ("done", "skipped", "expired")
BY_STRATUM: dict[str, tuple[Any, str]] = {"quotas": (int, "women 200"), "population": (float, "women 0.5")}
SIZE = re.compile(r"\d+([.]\d*)?|[.]\d+", re.ASCII)


def overview(visit: Visit) -> Response:
    return visit.page("lead/overview.html", projects=oversight.all_projects(visit.site.database))


# Settings


def new_form(visit: Visit) -> Response:
    return settings_form(visit, {}, new=True)


def new(visit: Visit) -> Response:
    """From the form, or from a JSON file of the same fields."""
    try:
        given = from_file(visit) or from_fields(visit)
        settings = Project.of(str(given.get("id", "")), {k: v for k, v in given.items() if k != "id"})
        if any(row["id"] == settings.id for row in oversight.all_projects(visit.site.database)):
            raise ProjectError(visit.say("lead.taken", name=settings.id))
    except (ProjectError, TypeError, ValueError, RecursionError) as error:
        wrong = error.said(visit.language) if isinstance(error, UploadError) else str(error)
        return settings_form(visit, said(visit), new=True, wrong=wrong, status=422)
    make_project(visit.site.database, settings)
    oversight.record(visit.site.database, "project", visit.who.rater, settings.id)
    return visit.go(f"/lead/{settings.id}")


def edit_form(visit: Visit) -> Response:
    settings = settings_of(visit)
    return settings_form(visit, {k: as_text(v) for k, v in asdict(settings).items()}, new=False)


def edit(visit: Visit) -> Response:
    name = settings_of(visit).id
    try:
        given = from_fields(visit)
        settings = Project.of(name, {k: v for k, v in given.items() if k != "id"})
    except (ProjectError, TypeError, ValueError) as error:
        return settings_form(visit, said(visit), new=False, wrong=str(error), status=422)
    make_project(visit.site.database, settings)
    visit.site.queue.changed(name)
    oversight.record(visit.site.database, "project", visit.who.rater, name)
    return visit.go(f"/lead/{name}")


def settings_form(visit: Visit, given: dict[str, str], *, new: bool, wrong: str = "", status: int = 200) -> Response:
    defaults = {f.name: "" if f.default is MISSING else as_text(f.default) for f in fields(Project)}
    defaults |= dict.fromkeys(BY_STRATUM, "")
    values = defaults if new and not given else dict.fromkeys(defaults, "") | given
    project = None if new else settings_of(visit)
    return visit.page(
        "lead/settings.html",
        status,
        values=values,
        kinds=list(KINDS),
        rules=RULES,
        new=new,
        wrong=wrong,
        project=project,
    )


def as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else ""
    if isinstance(value, dict):
        return "\n".join(f"{stratum} {number}" for stratum, number in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def from_fields(visit: Visit) -> dict[str, Any]:
    """The form's fields as a project's; a check box that is not ticked is not sent. Raises ProjectError."""
    given: dict[str, Any] = {}
    for f in fields(Project):
        text = visit.field(f.name).strip()
        if f.name in BY_STRATUM:
            given[f.name] = by_stratum(f.name, text)
        elif isinstance(f.default, bool):
            given[f.name] = text == "on"
        elif isinstance(f.default, int | float):
            try:
                given[f.name] = type(f.default)(text)
            except ValueError:
                raise ProjectError(f"project.{f.name} must be a number, got {text!r}") from None
        elif text or f.name == "id":
            given[f.name] = text
    return given


def by_stratum(name: str, text: str) -> dict[str, Any]:
    """A number of each stratum, one a line. Raises ProjectError."""
    number, example = BY_STRATUM[name]
    found: dict[str, Any] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        stratum, _, said = line.rpartition(" ")
        if not stratum or not SIZE.fullmatch(said) or (number is int and not said.isdecimal()):
            raise ProjectError(f"project.{name} must be lines such as {example!r}, got {line!r}")
        found[stratum.strip()] = number(said)
    return found


def from_file(visit: Visit) -> dict[str, Any] | None:
    text = uploaded(visit)
    if text is None:
        return None
    given = json.loads(text)
    if not isinstance(given, dict):
        raise ProjectError("the file must hold an object of a project's fields")
    return given


def uploaded(visit: Visit) -> str | None:
    """The text of the file that came with the form; None where there is none."""
    file = visit.form.get("file")
    if not isinstance(file, UploadFile) or not file.filename:
        return None
    try:
        return file.file.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UploadError("upload.not_text") from None


def settings_of(visit: Visit) -> Project:
    return visit.site.queue.settings(visit.path["project"])


# One project


def project(visit: Visit, status: int = 200, wrong: str = "", added: str = "") -> Response:
    settings, database = settings_of(visit), visit.site.database
    counts = oversight.states(database, settings.id)
    return visit.page(
        "lead/project.html",
        status,
        project=settings,
        counts=[(state, counts[state]) for state in COUNTED if counts.get(state)],
        raters=oversight.raters_of(database, settings.id),
        wrong=wrong,
        added=added or visit.query("added"),
    )


def questions(visit: Visit) -> Response:
    settings = settings_of(visit)
    try:
        text = uploaded(visit)
        if text is None:
            raise UploadError("lead.no_file")
        counts = uploads.ask_all(Store(visit.site.database), settings, text)
    except UploadError as error:
        return project(visit, 422, wrong=error.said(visit.language))
    oversight.record(visit.site.database, "questions", visit.who.rater, settings.id, **counts)
    return visit.go(f"/lead/{settings.id}?added={sum(counts.values())}")


def guidelines(visit: Visit) -> Response:
    settings = settings_of(visit)
    versions = oversight.guidelines(visit.site.database, settings.id)
    return visit.page("lead/guidelines.html", project=settings, versions=versions)


def write_guidelines(visit: Visit) -> Response:
    settings, text = settings_of(visit), visit.field("text").replace("\r\n", "\n").strip()
    if not text or len(text) > 5 * MOST_CHARACTERS:
        raise Refused(422)
    oversight.add_guideline(visit.site.database, settings.id, text, visit.who.rater)
    return visit.go(f"/lead/{settings.id}/guidelines")


def exam_again(visit: Visit) -> Response:
    settings = settings_of(visit)
    oversight.exam_again(visit.site.database, settings.id, visit.path["rater"], visit.who.rater)
    return visit.go(f"/lead/{settings.id}")


# Disagreement


def dissent(visit: Visit) -> Response:
    settings = settings_of(visit)
    waiting = oversight.dissent(visit.site.database, settings.id)
    return visit.page("lead/dissent.html", project=settings, waiting=waiting)


def disputed(visit: Visit, status: int = 200, wrong: str = "") -> Response:
    settings, key = settings_of(visit), visit.path["question"]
    seat, votes = oversight.disputed(visit.site.database, settings.id, key, visit.who.rater)
    return visit.page(
        "lead/disputed.html",
        status,
        project=settings,
        card=card_of(seat, f"/lead/{settings.id}/dissent/{key}/clips", drawing_of(visit, seat)),
        votes=[(vote["rater"], answer_in_words(seat, vote["answer"]), vote["answer"]) for vote in votes],
        place=f"/lead/{settings.id}/dissent/{key}",
        wrong=wrong,
        said=said(visit),
    )


def disputed_clip(visit: Visit) -> Response:
    name, key = settings_of(visit).id, visit.path["question"]
    return clip_of(visit, oversight.disputed(visit.site.database, name, key, visit.who.rater)[0])


def decide(visit: Visit) -> Response:
    settings, key, who = settings_of(visit), visit.path["question"], visit.who.rater
    seat, _ = oversight.disputed(visit.site.database, settings.id, key, who)
    try:
        oversight.adjudicate(visit.site.database, settings.id, key, who, answer_of(seat, said(visit), settings))
    except AnswerError as error:
        return disputed(visit, 422, visit.say(f"wrong.{error.where}", count=len(seat.items)))
    return visit.go(f"/lead/{settings.id}/dissent")


# Looking things up


def answers(visit: Visit) -> Response:
    settings = settings_of(visit)
    wanted = {name: visit.query(name).strip() for name in ("who", "state", "text", "since", "until")}
    if wanted["state"] not in ("", *FOUND):
        raise Refused(422)
    wrong, page = wrong_days(visit, wanted["since"], wanted["until"]), page_of(visit)
    filters = Filters(rater=wanted["who"], words=wanted["text"], since=wanted["since"], until=wanted["until"])
    rows = [] if wrong else oversight.seats(visit.site.database, settings.id, filters, wanted["state"], page)
    return visit.page(
        "lead/answers.html",
        422 if wrong else 200,
        project=settings,
        rows=rows[: oversight.PAGE],
        more=len(rows) > oversight.PAGE,
        number=page,
        wanted=wanted,
        states=FOUND,
        wrong=wrong,
    )


def wrong_days(visit: Visit, since: str, until: str) -> str:
    """What is wrong with the days asked for; empty where nothing is."""
    for text in filter(None, (since, until)):
        try:
            day(text)
        except ValueError:
            return visit.say("lead.no_day", text=text[:40])
    return visit.say("lead.days_turned") if since and until and day(since) > day(until) else ""


def log(visit: Visit) -> Response:
    wanted = {name: visit.query(name).strip() for name in ("project", "who", "kind")}
    page = page_of(visit)
    rows = oversight.log(visit.site.database, page=page, **wanted)
    shown, more = rows[: oversight.PAGE], len(rows) > oversight.PAGE
    return visit.page("lead/log.html", rows=shown, more=more, number=page, wanted=wanted)


def page_of(visit: Visit) -> int:
    asked = visit.query("page")
    return min(int(asked), 100_000) if asked.isdecimal() and len(asked) < 7 else 0
