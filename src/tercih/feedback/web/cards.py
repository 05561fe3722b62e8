"""What a rater sees of a question, and nothing else: neither who wrote an answer, nor the known answer, nor votes."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tercih.feedback.seats import Seat
from tercih.records import Clip, Content, Message, Text

LETTERS = "ABCDEFGHI"
Turns = tuple[Message, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """One thing to judge, at its place on the page."""

    place: int
    letter: str
    turns: Turns = ()
    plain: str = ""
    clip: str = ""
    seconds: float = 0.0
    rate: float = 0.0
    """Frames a second of a clip; 0 where nobody said."""
    drawing: bool = False
    """Its video is not there yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Suggestion:
    """What a model would answer: a word of the catalogues with its value, or text as it stands."""

    word: str
    value: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """A question as a page shows it. `prompt` is the conversation so far, `about` the sentence of a project or rule."""

    kind: str
    prompt: Turns
    shown: tuple[Shown, ...]
    rule: str
    evidence: tuple[str, ...]
    scale: range
    aspect: str
    labels: tuple[str, ...]
    suggestion: Suggestion | None


def card_of(seat: Seat, clips: str, drawing: Collection[int] = ()) -> Card:
    """`clips` is the address under which this seat's clips are served, by place; `drawing`: those not there yet."""
    spec, first = seat.spec, seat.items[0]
    evidence = spec.get("evidence", ())
    return Card(
        kind=seat.kind,
        prompt=turns_of(first.prompt, "user") if isinstance(first, Text) else (),
        shown=tuple(
            Shown(
                place=place,
                letter=LETTERS[place],
                clip=f"{clips}/{place}",
                seconds=each.seconds,
                rate=rate_of(each),
                drawing=place in drawing,
            )
            if isinstance(each, Clip)
            else Shown(
                place=place,
                letter=LETTERS[place],
                turns=() if isinstance(each.completion, str) else each.completion,
                plain=each.completion if isinstance(each.completion, str) else "",
            )
            for place, each in enumerate(seat.items)
        ),
        rule=str(spec.get("rule", "")),
        evidence=(evidence,) if isinstance(evidence, str) else tuple(map(str, evidence)),
        scale=range(int(spec.get("low", 1)), int(spec.get("high", 7)) + 1),
        aspect=str(spec.get("aspect", "")),
        labels=tuple(map(str, spec.get("labels", ("error",)))),
        suggestion=suggestion_of(seat) if seat.shown.get("suggestion") else None,
    )


def rate_of(clip: Clip) -> float:
    said = clip.columns.get("rate")
    return float(said) if isinstance(said, int | float) and 0 < said <= 1000 else 0.0


def turns_of(content: Content, role: str) -> Turns:
    if not isinstance(content, str):
        return content
    return (Message(role=role, content=content),) if content else ()


def suggestion_of(seat: Seat) -> Suggestion | None:
    said = seat.spec.get("suggestion")
    if isinstance(said, Mapping):
        return answer_in_words(seat, said)
    return Suggestion(word="suggestion.text", value=str(said)) if said else None


def answer_in_words(seat: Seat, answer: Mapping[str, Any]) -> Suggestion | None:
    """An answer in the terms of this page: "a" is the left one or the right one, as they are shown."""
    if answer.get("cannot"):
        return Suggestion(word="answer.cannot")
    if "choice" in answer:
        choice = str(answer["choice"])
        if choice in ("a", "b") and len(seat.order) == 2:
            return Suggestion(word="answer.letter", value=LETTERS[seat.order.index("ab".index(choice))])
        return Suggestion(word=f"answer.{choice}") if choice in ("tie", "all_bad") else None
    if "order" in answer:
        best_first = [LETTERS[seat.order.index(int(place))] for place in answer["order"]]
        return Suggestion(word="answer.text", value=" > ".join(best_first))
    if "good" in answer:
        return Suggestion(word="answer.good" if answer["good"] in (True, "yes") else "answer.bad")
    if answer.get("broken") in ("yes", "no", "unsure"):
        return Suggestion(word=f"answer.broken.{answer['broken']}")
    for name in ("score", "completion", "correction", "critique"):
        if name in answer:
            return Suggestion(word="answer.text", value=str(answer[name]))
    return None
