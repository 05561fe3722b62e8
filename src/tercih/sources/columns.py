"""Rows with the column names that TRL's users have, made into records; JSONL, Parquet and Hub data all pass here.

    prompt, chosen, rejected [, margin, strength, rater, time]
                                                       -> Comparison     (prompt may be left implicit in conversations;
                                                                          strength 0 is a tie, 1 is sure)
    prompt, completions, order [, rater, time]         -> Ranking        (order[0] indexes the best)
    prompt, completions, labels [, rater, time]        -> StepLabels     (steps of one answer, and which are right)
    prompt, completion, rule, broken [, rater, time]   -> RuleLabel      (or messages; broken is true or yes, false or
                                                                          no, or unsure)
    prompt, completion, label [, rater, time]          -> Thumb          (or messages, label)
    prompt, completion, score [, rater, time]          -> Rating         (or messages, score; higher is better)
    prompt, completion  |  messages                    -> Demonstration
    prompt                                             -> Text           (a prompt to be answered; completion "")

Texts are strings or lists of `{"role": …, "content": …}`. Every other column goes to `Text.columns`.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain, takewhile
from typing import Any

from tercih.records import (
    Comparison,
    Content,
    Demonstration,
    Dialogue,
    Message,
    Ranking,
    Rating,
    RuleLabel,
    StepLabels,
    Text,
    Thumb,
)
from tercih.sources.rows import BadRow, Row, SourceError, convert

Record = Comparison | Ranking | StepLabels | RuleLabel | Thumb | Rating[Text] | Demonstration | Dialogue | Text

UNKNOWN = "unknown"  # the rater, where the data does not name one
BROKEN = {True: True, False: False, "yes": True, "no": False, "unsure": None}  # the words are those of the label page


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One meaning of a row: it is meant if any of `marks` is there, and then needs all of `needs`."""

    marks: tuple[str, ...]
    needs: tuple[str, ...]
    make: Callable[[Row], Record]


def records(
    rows: Iterable[tuple[int, Row]], where: str, columns: Mapping[str, str] | None = None, skip_bad: bool = False
) -> list[Record]:
    """Records of numbered rows; `where` names their file in errors, `columns` maps our column names to the data's own.

    Raises `SourceError` for a missing or misspelt column and for the first row that cannot be used (see `convert`).
    """
    iterator = iter(rows)
    first = next(iterator, None)
    if first is None:
        raise SourceError(f"{where} is empty")
    theirs = dict(columns or {})
    for ours, name in theirs.items():
        if name not in first[1]:
            raise SourceError(f"{where} has no column {name!r}{_meant(name, first[1], ours)}; it has {_list(first[1])}")
    kind = _kind(_renamed(first[1], theirs), where)

    def make(row: Row) -> Record:
        row = _renamed(row, theirs)
        if missing := [name for name in kind.needs if row.get(name) is None]:
            raise BadRow(f"column {missing[0]!r} is missing or null")
        return kind.make(row)

    return convert(chain([first], iterator), make, where, skip_bad)


def comparison(row: Row) -> Comparison:
    """The pair of one row with the columns prompt, chosen and rejected; raises `BadRow`."""
    prompt, chosen, rejected = _pair(row)
    if chosen == rejected:
        raise BadRow("chosen and rejected are the same")
    rest = _rest(row, "prompt", "chosen", "rejected", "margin", "strength", "rater", "time")
    strength = _number(row, "strength")
    if strength is not None and not 0 <= strength <= 1:
        raise BadRow(f"strength must be in [0, 1], how sure it is that chosen is better, got {strength:g}")
    return Comparison(
        a=_text(prompt, chosen, rest),
        b=_text(prompt, rejected, rest),
        answer="tie" if strength == 0 else "a",
        strength=strength or 1.0,
        margin=_number(row, "margin") or 0.0,
        rater=_rater(row),
        time=_number(row, "time"),
    )


def _pair(row: Row) -> tuple[Content, Content, Content]:
    """Prompt, chosen, rejected; where both are whole conversations, what they share is the prompt."""
    chosen, rejected = content(row, "chosen"), content(row, "rejected")
    given = content(row, "prompt") if row.get("prompt") is not None else None
    if isinstance(chosen, str) and isinstance(rejected, str):
        if given is None:
            hint = f"name the column that holds it: --columns prompt NAME (there are {_list(row)})"
            if chosen.startswith("\n\nHuman:"):
                hint = "read it as hh:PATH"
            raise BadRow(f"chosen and rejected are plain strings, so their prompt is unknown; {hint}")
        return given, chosen, rejected
    if isinstance(chosen, str) or isinstance(rejected, str):
        raise BadRow("one of chosen and rejected is a string, the other a list of messages")
    if isinstance(given, tuple):
        return given, chosen, rejected
    shared = tuple(x for x, _ in takewhile(lambda both: both[0] == both[1], zip(chosen, rejected, strict=False)))
    if len(shared) == min(len(chosen), len(rejected)) and chosen != rejected:
        raise BadRow("one of chosen and rejected is the beginning of the other, so one completion would be empty")
    if not shared:
        raise BadRow("chosen and rejected share no first message that could be their prompt; add a column 'prompt'")
    if given is not None and shared[-1].content != given:
        raise BadRow("the column 'prompt' is not the last message that chosen and rejected share")
    return shared, chosen[len(shared) :], rejected[len(shared) :]


def _ranking(row: Row) -> Ranking:
    completions, order = row["completions"], row["order"]
    if not isinstance(completions, list) or not isinstance(order, list):
        raise BadRow("completions and order must be lists")
    prompt, rest = content(row, "prompt"), _rest(row, "prompt", "completions", "order", "rater", "time")
    items = tuple(_text(prompt, content({"completions": each}, "completions"), rest) for each in completions)
    if len({item.id for item in items}) < len(items):
        raise BadRow("two of the completions are the same")
    try:
        return Ranking(items=items, order=tuple(order), rater=_rater(row), time=_number(row, "time"))
    except (ValueError, TypeError) as error:
        raise BadRow(str(error)) from None


def _steps(row: Row) -> StepLabels:
    steps, labels = row["completions"], row["labels"]
    if not isinstance(steps, list) or not isinstance(labels, list):
        raise BadRow("completions (the steps) and labels must be lists")
    for step in steps:
        if not isinstance(step, str) or not step.strip():
            raise BadRow("a step is empty or no text")
        if "\n" in step.strip("\n"):
            raise BadRow("a step has several lines; join them, since steps are told apart by line breaks")
    if any(not isinstance(label, bool) and label not in (0, 1) for label in labels):
        raise BadRow("labels must be true (right) or false, one a step")
    item = _text(
        content(row, "prompt"),
        "\n".join(step.strip("\n") for step in steps),
        _rest(row, "prompt", "completions", "labels", "rater", "time"),
    )
    try:
        return StepLabels(item=item, good=tuple(map(bool, labels)), rater=_rater(row), time=_number(row, "time"))
    except ValueError as error:
        raise BadRow(str(error)) from None


def _thumb(row: Row) -> Thumb:
    if not isinstance(row["label"], bool) and row["label"] not in (0, 1):
        raise BadRow(f"label must be true (good) or false (bad), got {row['label']!r}")
    item = _answered(row, "label", "rater", "time")
    return Thumb(item=item, good=bool(row["label"]), rater=_rater(row), time=_number(row, "time"))


def _rule(row: Row) -> RuleLabel:
    rule, said = row["rule"], row["broken"]
    if not isinstance(rule, str) or not rule.strip():
        raise BadRow("rule must be the text of a rule, and not empty")
    if (not isinstance(said, bool | str) and said not in (0, 1)) or said not in BROKEN:
        raise BadRow(f"broken must be true (or yes), false (or no) or unsure, got {said!r}")
    return RuleLabel(
        item=_answered(row, "rule", "broken", "rater", "time"),
        rule=rule.strip(),
        broken=bool(BROKEN[said]),
        certain=BROKEN[said] is not None,
        rater=_rater(row),
        time=_number(row, "time"),
    )


def _shown(row: Row) -> Demonstration | Rating:
    """An answer, with what it scored where there is a column for that; no scale bounds it."""
    if "score" not in row:
        return Demonstration(item=_answered(row, "rater"), rater=_rater(row))
    score, item = _number(row, "score"), _answered(row, "rater", "time")
    if score is None:
        raise BadRow("column 'score' is missing or null")
    return Rating(item=item, score=score, rater=_rater(row), low=-math.inf, high=math.inf, time=_number(row, "time"))


def _answered(row: Row, *used: str) -> Text:
    """One prompt with its answer: prompt and completion, or messages that end with the assistant's."""
    if row.get("completion") is None and row.get("messages") is None:
        raise BadRow("there is neither a completion (with its prompt) nor messages")
    if row.get("completion") is not None:
        if row.get("prompt") is None:
            raise BadRow("there is a completion but no prompt")
        return _text(content(row, "prompt"), content(row, "completion"), _rest(row, "prompt", "completion", *used))
    messages = content(row, "messages")
    if isinstance(messages, str) or len(messages) < 2 or messages[-1].role != "assistant":
        raise BadRow("messages must be a list of at least two messages, the last of role 'assistant'")
    return _text(messages[:-1], messages[-1:], _rest(row, "messages", *used))


def _prompt(row: Row) -> Text:
    return Text(prompt=content(row, "prompt"), completion="", columns=_rest(row, "prompt"))


KINDS = (
    Kind(marks=("chosen", "rejected"), needs=("chosen", "rejected"), make=comparison),
    Kind(marks=("labels",), needs=("prompt", "completions", "labels"), make=_steps),
    Kind(marks=("completions", "order"), needs=("prompt", "completions", "order"), make=_ranking),
    Kind(marks=("broken",), needs=("rule", "broken"), make=_rule),
    Kind(marks=("label",), needs=("label",), make=_thumb),
    Kind(marks=("completion",), needs=("prompt", "completion"), make=_shown),
    Kind(marks=("messages",), needs=("messages",), make=_shown),
    Kind(marks=("prompt",), needs=("prompt",), make=_prompt),
)
WATCHED = ("prompt", "completion", "messages", "margin", "strength")  # may be absent, but a near miss is an error


def _kind(first: Row, where: str) -> Kind:
    """What the rows mean, from the columns of the first; a column that is missing or nearly there is an error."""
    known = {name for kind in KINDS for name in kind.needs} | set(WATCHED)
    spare = [name for name in first if name not in known]
    meant = {name: _near(name, spare) for name in known if name not in first}
    for kind in KINDS:
        if not any(mark in first or meant[mark] for mark in kind.marks):
            continue
        for name in (*kind.needs, *WATCHED):
            if name not in first and (name in kind.needs or meant[name]):
                raise SourceError(f"{where} has no column {name!r}{_meant(name, spare)}; it has {_list(first)}")
        return kind
    if "turns" in first or "offered" in first:
        raise SourceError(f"{where} holds dialogues with what was offered; read it as offered:{where}")
    wanted = "; ".join(", ".join(kind.needs) for kind in KINDS)
    raise SourceError(f"{where} has none of the columns that are understood ({wanted}); it has {_list(first)}")


def _near(name: str, among: Iterable[str]) -> str | None:
    return next(iter(get_close_matches(name, list(among), n=1, cutoff=0.8)), None)


def _meant(name: str, among: Iterable[str], ours: str = "") -> str:
    near = _near(name, among)
    return f" (did you mean {near!r}? rename it, or say --columns {ours or name} {near})" if near else ""


def _list(row: Row) -> str:
    return ", ".join(sorted(row))


def _renamed(row: Row, theirs: Mapping[str, str]) -> Row:
    if not theirs:
        return row
    used = set(theirs.values())
    kept = {name: value for name, value in row.items() if name not in used}
    return kept | {ours: row.get(name) for ours, name in theirs.items()}


def _text(prompt: Content, completion: Content, columns: Mapping[str, Any]) -> Text:
    return Text(prompt=prompt, completion=completion, columns=columns)


def content(row: Row, name: str) -> Content:
    """The string or the messages of one column; nothing in them may be empty."""
    value = row[name]
    if isinstance(value, str):
        if not value.strip():
            raise BadRow(f"{name} is empty")
        return value
    if not isinstance(value, list) or not value:
        got = "an empty list" if value == [] else type(value).__name__
        raise BadRow(f"{name} must be a string or a list of messages, got {got}")
    return tuple(_message(each, name) for each in value)


def _message(value: Any, name: str) -> Message:
    if not isinstance(value, dict) or not isinstance(value.get("role"), str):
        raise BadRow(f"{name} must hold messages of the form {{'role': …, 'content': …}}")
    content = value.get("content")
    if not isinstance(content, str) or not content.strip():
        raise BadRow(f"a message of role {value['role']!r} in {name} has no text")
    return Message(role=value["role"], content=content)


def _rest(row: Row, *used: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in used}


def _rater(row: Row) -> str:
    return str(row["rater"]) if row.get("rater") is not None else UNKNOWN


def _number(row: Row, name: str) -> float | None:
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadRow(f"{name} must be a finite number, got {value!r}")
    return float(value)
