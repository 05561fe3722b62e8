"""Questions from a JSON Lines file: one question a line, and no line half understood."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tercih.feedback.kinds import KINDS, AnswerError, check
from tercih.feedback.projects import Project
from tercih.feedback.questions import Question
from tercih.feedback.store import Store
from tercih.records import Clip, Content, Item, Message, Text, content_hash

USES = {"question": "open", "gold": "gold", "tutorial": "tutorial", "exam": "exam"}
SPEC = (
    "gold", "explanation", "rule", "evidence", "suggestion", "low", "high", "aspect", "labels",
)  # fmt: skip
KNOWN = {"use", "kind", "votes", "prompt", "completions", "clips", "origins", *SPEC}
MOST_LINES = 100_000


class UploadError(ValueError):
    """A line that is no question; the message names the line, the field and the mend."""


def ask_all(store: Store, settings: Project, text: str) -> dict[str, int]:
    """Ask all of a file's questions, or none if one of them cannot be; how many of each use it holds.

    The same line again is the same question.
    """
    found: dict[str, list[Question]] = {}
    for number, line in _lines(text):
        try:
            use, asked = question_of(json.loads(line), settings)
        except json.JSONDecodeError as error:
            raise UploadError(f"line {number} is not JSON ({error.msg} at character {error.colno})") from None
        except (ValueError, TypeError, KeyError) as error:
            raise UploadError(f"line {number}: {error}") from None
        found.setdefault(use, []).append(asked)
    if not found:
        raise UploadError("the file is empty; give one JSON object a line")
    for use in ("tutorial", "exam", "gold", "question"):  # nobody is asked before what prepares them is there
        if use in found:
            store.ask(found[use], state=USES[use])
    return {use: len(asked) for use, asked in found.items()}


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        if number > MOST_LINES:
            raise UploadError(f"the file has more than {MOST_LINES} lines; upload it in parts")
        if line.strip():
            yield number, line


def question_of(row: Any, settings: Project) -> tuple[str, Question]:
    """A line's use and question. Raises ValueError, TypeError or KeyError for what is none."""
    if not isinstance(row, dict):
        raise UploadError("a question is an object of fields")
    for name in row:
        if name not in KNOWN:
            raise UploadError(f"there is no field {name!r}; there are {', '.join(sorted(KNOWN))}")
    kind, use = row.get("kind", settings.kind), row.get("use", "question")
    if kind not in KINDS:
        raise UploadError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if use not in USES:
        raise UploadError(f"use must be one of {', '.join(USES)}, got {use!r}")
    items, spec = _items(row, kind), {name: row[name] for name in SPEC if name in row}
    low, high = KINDS[kind].items
    if not low <= len(items) <= high:
        raise UploadError(f"a {kind} shows {low}{f' to {high}' if high > low else ''} answers, got {len(items)}")
    _check_gold(kind, items, spec, use)
    fingerprint = content_hash([settings.id, row])
    asked = Question(
        items=items,
        project=settings.id,
        run=f"upload {settings.id}",
        step=int(fingerprint[:7], 16),
        index=int(fingerprint[7:14], 16),
        kind=kind,
        spec=spec,
        sampler="upload",
        votes=int(row.get("votes", settings.votes)),
    )
    return use, asked


def _items(row: Mapping[str, Any], kind: str) -> tuple[Item, ...]:
    if "clips" in row:
        if not KINDS[kind].clips:
            raise UploadError(f"a {kind} is about texts, not clips")
        return tuple(_clip(each) for each in row["clips"])
    if "prompt" not in row:
        raise UploadError("prompt is missing")
    prompt, completions = _content(row["prompt"], "prompt"), row.get("completions")
    if completions is None and kind == "demonstration":
        completions = [""]
    if not isinstance(completions, list):
        raise UploadError("completions must be a list of answers")
    origins = row.get("origins", [""] * len(completions))
    if not isinstance(origins, list) or len(origins) != len(completions):
        raise UploadError("origins must be a list as long as completions")
    return tuple(
        Text(prompt=prompt, completion=_content(each, "completions"), origin=str(origin))
        for each, origin in zip(completions, origins, strict=True)
    )


def _clip(each: Any) -> Clip:
    if not isinstance(each, dict):
        raise UploadError('a clip is an object such as {"media": "a.mp4", "digest": "…", "seconds": 2.5}')
    try:
        return Clip(
            media=str(each["media"]),
            digest=str(each["digest"]),
            seconds=float(each["seconds"]),
            steps=str(each.get("steps", "")),
            origin=str(each.get("origin", "")),
        )
    except KeyError as error:
        raise UploadError(f"a clip needs {error.args[0]}") from None


def _content(value: Any, name: str) -> Content:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(turn, dict) and {"role", "content"} <= set(turn) for turn in value):
        return tuple(Message(role=str(turn["role"]), content=str(turn["content"])) for turn in value)
    raise UploadError(f'{name} must be text, or turns such as [{{"role": "user", "content": "…"}}]')


def _check_gold(kind: str, items: tuple[Item, ...], spec: Mapping[str, Any], use: str) -> None:
    gold = spec.get("gold")
    if gold is None:
        if use in ("gold", "exam"):
            raise UploadError(f"a question for {use} needs gold, the answer that is right")
        return
    try:
        checked = check(kind, gold, items, spec)
    except AnswerError as error:
        raise UploadError(f"gold: {error}") from None
    wrong = [name for name, value in gold.items() if checked.get(name) != value]
    if wrong:
        raise UploadError(f"gold: {wrong[0]} must be written as answers are, {checked.get(wrong[0])!r}")
