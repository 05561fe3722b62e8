"""What can be asked: one kind of question each, what its answer looks like, and which record it becomes.

An answer is a JSON object. Whatever the kind, it may say `cannot` (the rater cannot judge this) instead of the rest,
and carry a `note`, a `confidence` from 1 to 5 and the `notes` written before the answers were revealed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tercih.records import (
    Clip,
    Comparison,
    Critique,
    Demonstration,
    Item,
    Ranking,
    Rating,
    RuleLabel,
    Span,
    SpanLabels,
    Text,
    Thumb,
    TimedSignal,
)

Answer = dict[str, Any]
Spec = Mapping[str, Any]
MOST_CHARACTERS = 20_000  # of anything a rater writes
CHOICES = ("a", "b", "tie", "all_bad")
EITHER = ("yes", "no", "unsure")


class AnswerError(ValueError):
    """An answer that cannot be one; `where` is the field it is about."""

    def __init__(self, message: str, where: str = "answer") -> None:
        super().__init__(message)
        self.where = where


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """An answer with who gave it and when, on its way to a record."""

    items: tuple[Item, ...]
    answer: Answer
    spec: Spec
    rater: str
    time: float | None
    seconds: float | None
    left: int | None
    sampler: str = "random"
    propensity: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """`items` is how few and how many are shown; `check` returns the answer's own fields, or raises AnswerError."""

    items: tuple[int, int]
    check: Callable[[Mapping[str, Any], Sequence[Item], Spec], Answer]
    records: Callable[[Said], list[Any]]
    clips: bool = False


def check(kind: str, answer: Mapping[str, Any], items: Sequence[Item], spec: Spec) -> Answer:
    """An answer with nothing in it but what belongs there. Raises AnswerError."""
    if not isinstance(answer, Mapping):
        raise AnswerError("an answer is an object of fields")
    common: Answer = {}
    for name in ("note", "notes"):
        if text := _text(answer, name, empty=True):
            common[name] = text
    if answer.get("confidence") not in (None, ""):
        common["confidence"] = _whole(answer, "confidence", 1, 5)
    if answer.get("cannot"):
        return {"cannot": True} | common
    return KINDS[kind].check(answer, items, spec) | common


def records_of(kind: str, said: Said) -> list[Any]:
    """What an answer says, as records; none for one who could not judge."""
    return [] if said.answer.get("cannot") else KINDS[kind].records(said)


# One by one


def _check_pair(answer: Mapping[str, Any], items: Sequence[Item], spec: Spec) -> Answer:
    choice = answer.get("choice")
    if choice not in CHOICES:
        raise AnswerError(f"choice must be one of {', '.join(CHOICES)}, got {choice!r}", "choice")
    strength = answer.get("strength", 1.0)
    if isinstance(strength, bool) or not isinstance(strength, int | float) or not 0 < strength <= 1:
        raise AnswerError(f"strength must be in (0, 1], got {strength!r}", "strength")
    return {"choice": choice, "strength": float(strength)}


def _pair(said: Said) -> list[Any]:
    a, b = said.items
    choice = said.answer["choice"]
    return [
        Comparison(
            a=a,
            b=b,
            answer=choice if choice in ("a", "b") else "tie",
            rater=said.rater,
            left=None if said.left is None else ("a", "b")[said.left],
            strength=said.answer["strength"],
            time=said.time,
            seconds=said.seconds,
            sampler=said.sampler,
            propensity=said.propensity,
        )
    ]


def _check_ranking(answer: Mapping[str, Any], items: Sequence[Item], spec: Spec) -> Answer:
    order = answer.get("order")
    if not isinstance(order, list) or sorted(map(str, order)) != sorted(map(str, range(len(items)))):
        raise AnswerError(f"the ranking must place each of the {len(items)} answers once, got {order!r}", "order")
    return {"order": [int(place) for place in order]}


def _ranking(said: Said) -> list[Any]:
    return [Ranking(items=said.items, order=tuple(said.answer["order"]), rater=said.rater, time=said.time)]


def _check_rating(answer: Mapping[str, Any], items: Sequence[Item], spec: Spec) -> Answer:
    return {"score": _whole(answer, "score", spec.get("low", 1), spec.get("high", 7))}


def _rating(said: Said) -> list[Any]:
    scale = {name: said.spec[name] for name in ("low", "high", "aspect") if name in said.spec}
    return [Rating(item=said.items[0], score=said.answer["score"], rater=said.rater, time=said.time, **scale)]


def _check_thumb(answer: Mapping[str, Any], items: Sequence[Item], spec: Spec) -> Answer:
    return {"good": _choice(answer, "good", ("yes", "no")) == "yes"}


def _thumb(said: Said) -> list[Any]:
    return [Thumb(item=said.items[0], good=said.answer["good"], rater=said.rater, time=said.time)]


def _check_critique(answer: Mapping[str, Any], items: Sequence[Item], spec: Spec) -> Answer:
    return {"critique": _text(answer, "critique"), "correction": _text(answer, "correction", empty=True)}


def _critique(said: Said) -> list[Any]:
    return [
        Critique(item=said.items[0], rater=said.rater, time=said.time, **_own(said.answer, "critique", "correction"))
    ]


def _check_demonstration(answer: Mapping[str, Any], items: Sequence[Item], spec: Spec) -> Answer:
    return {"completion": _text(answer, "completion")}


def _demonstration(said: Said) -> list[Any]:
    asked = said.items[0]
    assert isinstance(asked, Text)
    return [Demonstration(item=Text(prompt=asked.prompt, completion=said.answer["completion"]), rater=said.rater)]


def _check_rule(answer: Mapping[str, Any], items: Sequence[Item], spec: Spec) -> Answer:
    return {"broken": _choice(answer, "broken", EITHER)}


def _rule(said: Said) -> list[Any]:
    broken = said.answer["broken"]
    certain = broken != "unsure"
    rule = str(said.spec.get("rule", ""))
    return [
        RuleLabel(
            item=said.items[0], rule=rule, broken=broken == "yes", rater=said.rater, certain=certain, time=said.time
        )
    ]


def _check_spans(answer: Mapping[str, Any], items: Sequence[Item], spec: Spec) -> Answer:
    shown = items[0]
    length = len(shown.completion) if isinstance(shown, Text) and isinstance(shown.completion, str) else 0
    given = answer.get("spans", [])
    if not isinstance(given, list):
        raise AnswerError("spans must be a list", "spans")
    spans = []
    for each in given:
        try:
            span = Span(start=int(each["start"]), end=int(each["end"]), kind=str(each.get("kind", "error"))[:100])
        except (KeyError, TypeError, ValueError) as error:
            raise AnswerError(f"a span needs start and end, 0 <= start < end ({error})", "spans") from None
        if span.end > length:
            raise AnswerError(f"a span ends at {span.end}, but the answer has {length} characters", "spans")
        spans.append({"start": span.start, "end": span.end, "kind": span.kind})
    return {"spans": spans}


def _spans(said: Said) -> list[Any]:
    spans = tuple(Span(**span) for span in said.answer["spans"])
    return [SpanLabels(item=said.items[0], spans=spans, rater=said.rater, time=said.time)]


def _check_plausible(answer: Mapping[str, Any], items: Sequence[Item], spec: Spec) -> Answer:
    return {name: _choice(answer, name, EITHER) for name in ("plausible", "supported")}


def _plausible(said: Said) -> list[Any]:
    """Two ratings of 0 or 1 (1/2 where unsure), kept apart (Menick et al. 2022, arXiv:2203.11147)."""
    worth = {"yes": 1.0, "no": 0.0, "unsure": 0.5}
    return [
        Rating(
            item=said.items[0],
            score=worth[said.answer[name]],
            low=0,
            high=1,
            aspect=name,
            rater=said.rater,
            time=said.time,
        )
        for name in ("plausible", "supported")
    ]


def _check_live(answer: Mapping[str, Any], items: Sequence[Item], spec: Spec) -> Answer:
    shown = items[0]
    length = shown.seconds if isinstance(shown, Clip) else float("inf")
    given = answer.get("signals", [])
    try:
        signals = [[round(float(at), 3), float(value)] for at, value in given]
    except (TypeError, ValueError):
        raise AnswerError("signals must be a list of [seconds, +1 or -1]", "signals") from None
    for at, value in signals:
        if not 0 <= at <= length + 1 or value not in (-1.0, 1.0):
            raise AnswerError(f"a signal must be +1 or -1 within the clip, got {value:g} at {at:g} s", "signals")
    steps = answer.get("steps") or []
    if not steps:
        return {"signals": sorted(signals)}
    if not isinstance(steps, list) or len(steps) != len(signals) or any(type(n) is not int or n < 0 for n in steps):
        raise AnswerError("steps must be whole numbers >= 0, one a signal", "signals")
    both = sorted(zip(signals, steps, strict=True))
    return {"signals": [one for one, _ in both], "steps": [step for _, step in both]}


def _live(said: Said) -> list[Any]:
    signals, steps = tuple((at, value) for at, value in said.answer["signals"]), tuple(said.answer.get("steps", ()))
    return [TimedSignal(item=said.items[0], signals=signals, steps=steps, rater=said.rater, time=said.time)]


KINDS: dict[str, Kind] = {
    "pair": Kind(items=(2, 2), check=_check_pair, records=_pair, clips=True),
    "ranking": Kind(items=(2, 9), check=_check_ranking, records=_ranking, clips=True),
    "rating": Kind(items=(1, 1), check=_check_rating, records=_rating, clips=True),
    "thumb": Kind(items=(1, 1), check=_check_thumb, records=_thumb, clips=True),
    "critique": Kind(items=(1, 1), check=_check_critique, records=_critique),
    "demonstration": Kind(items=(1, 1), check=_check_demonstration, records=_demonstration),
    "rule": Kind(items=(1, 1), check=_check_rule, records=_rule),
    "spans": Kind(items=(1, 1), check=_check_spans, records=_spans),
    "plausible": Kind(items=(1, 1), check=_check_plausible, records=_plausible),
    "live": Kind(items=(1, 1), check=_check_live, records=_live, clips=True),
}


# Fields


def _own(answer: Answer, *names: str) -> Answer:
    return {name: answer[name] for name in names}


def _text(answer: Mapping[str, Any], name: str, *, empty: bool = False) -> str:
    value = answer.get(name, "")
    if not isinstance(value, str):
        raise AnswerError(f"{name} must be text", name)
    value = value.replace("\r\n", "\n").replace("\0", "").strip()
    if len(value) > MOST_CHARACTERS:
        raise AnswerError(f"{name} has {len(value)} characters, more than {MOST_CHARACTERS}", name)
    if not value and not empty:
        raise AnswerError(f"{name} is empty", name)
    return value


def _whole(answer: Mapping[str, Any], name: str, low: int, high: int) -> int:
    value = answer.get(name)
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 10:  # a form's field
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise AnswerError(f"{name} must be a whole number from {low} to {high}, got {answer.get(name)!r}", name)
    return value


def _choice(answer: Mapping[str, Any], name: str, among: Sequence[str]) -> str:
    value = answer.get(name)
    if isinstance(value, bool):
        value = "yes" if value else "no"
    if value not in among:
        raise AnswerError(f"{name} must be one of {', '.join(among)}, got {value!r}", name)
    return str(value)
