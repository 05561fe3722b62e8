"""What comes back from a page, as the answer that the queue takes: places on the page become items again."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from tercih.feedback.kinds import AnswerError
from tercih.feedback.projects import Project
from tercih.feedback.seats import Seat
from tercih.records import Clip, Text

MOST_SECONDS = 3600.0  # a longer look at one question is a window that was forgotten
Fields = Mapping[str, str]


def answer_of(seat: Seat, said: Fields, settings: Project, notes: str = "") -> dict[str, Any]:
    """Raises AnswerError; its `where` has a sentence in the catalogues."""
    common: dict[str, Any] = {"note": said.get("note", "")}
    if notes:
        common["notes"] = notes
    if settings.confidence and said.get("confidence"):
        common["confidence"] = said["confidence"]
    if said.get("say") == "cannot":
        return common | {"cannot": True}
    return common | READ[seat.kind](seat, said, settings)


def seconds_of(said: Fields) -> float | None:
    """How long the page says its reader was active; None where it does not, or cannot be right."""
    try:
        seconds = float(said.get("seconds", ""))
    except ValueError:
        return None
    return round(min(seconds, MOST_SECONDS), 2) if seconds > 0 else None


def _pair(seat: Seat, said: Fields, settings: Project) -> dict[str, Any]:
    choice = said.get("say", "")
    if choice in ("left", "right"):
        return {"choice": "ab"[seat.order[("left", "right").index(choice)]]}
    allowed = {"tie": settings.ties, "all_bad": settings.all_bad}
    if not allowed.get(choice):
        raise AnswerError(f"choose one of the two, got {choice!r}", "choice")
    return {"choice": choice}


def _ranking(seat: Seat, said: Fields, settings: Project) -> dict[str, Any]:
    """The field place_2 holds the place, 1 for the best, of what is shown third."""
    given = [said.get(f"place_{at}", "").strip() for at in range(len(seat.items))]
    if sorted(given) != [str(place) for place in range(1, len(given) + 1)]:
        raise AnswerError(f"give every answer a place of its own, from 1 to {len(given)}", "order")
    return {"order": [seat.order[given.index(str(place))] for place in range(1, len(given) + 1)]}


def _spans(seat: Seat, said: Fields, settings: Project) -> dict[str, Any]:
    """Marked on the page, or quoted line by line where there is no script."""
    spans = _list(said.get("spans", ""), "spans")
    shown = seat.items[0]
    text = shown.completion if isinstance(shown, Text) and isinstance(shown.completion, str) else ""
    for line in said.get("quotes", "").replace("\r\n", "\n").split("\n"):
        quote = line.strip()
        if quote and text.count(quote) != 1:
            raise AnswerError(f"{quote!r} stands {text.count(quote)} times in the answer, not once", "spans")
        if quote:
            spans.append({"start": text.index(quote), "end": text.index(quote) + len(quote), "kind": "error"})
    return {"spans": spans}


def _live(seat: Seat, said: Fields, settings: Project) -> dict[str, Any]:
    """Given while the clip played, or written as lines such as "12.5 +1" where there is no script."""
    signals = _list(said.get("signals", ""), "signals")
    shown = seat.items[0]
    assert isinstance(shown, Clip)
    for line in said.get("lines", "").splitlines():
        if line.strip():
            signals.append(line.split())
    return {"signals": signals}


def _list(text: str, where: str) -> list[Any]:
    try:
        given = json.loads(text or "[]")
    except ValueError:
        given = None
    if not isinstance(given, list):
        raise AnswerError(f"{where} must be a list", where)
    return given


def _own(*names: str) -> Callable[[Seat, Fields, Project], dict[str, Any]]:
    return lambda seat, said, settings: {name: said.get(name, "") for name in names}


READ: Mapping[str, Callable[[Seat, Fields, Project], dict[str, Any]]] = {
    "pair": _pair,
    "ranking": _ranking,
    "rating": lambda seat, said, settings: {"score": said.get("say", "")},
    "thumb": lambda seat, said, settings: {"good": said.get("say", "")},
    "critique": _own("critique", "correction"),
    "demonstration": _own("completion"),
    "rule": lambda seat, said, settings: {"broken": said.get("say", "")},
    "spans": _spans,
    "plausible": _own("plausible", "supported"),
    "live": _live,
}
