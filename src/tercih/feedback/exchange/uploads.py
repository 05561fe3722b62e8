"""Questions from a JSON Lines file: one question a line, and no line half understood."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tercih.feedback.database import sane
from tercih.feedback.kinds import KINDS, AnswerError, check
from tercih.feedback.languages import say
from tercih.feedback.projects import Project
from tercih.feedback.questions import Question
from tercih.feedback.store import Store
from tercih.records import Clip, Content, Item, Message, Text, content_hash

USES = {"question": "open", "gold": "gold", "tutorial": "tutorial", "exam": "exam"}
SPEC = (
    "gold", "explanation", "rule", "evidence", "suggestion", "low", "high", "aspect", "labels",
)  # fmt: skip
KNOWN = {"use", "kind", "votes", "prompt", "completions", "clips", "origins", "task", *SPEC}
MOST_LINES = 100_000
MOST_VOTES = 10_000


class UploadError(ValueError):
    """A file that holds no questions; `word` names the sentence that says why and what to do, `line` where it is wrong
    (0: as a whole). A sentence's value `where` is the field of an answer that cannot be."""

    def __init__(self, word: str, line: int = 0, **values: object) -> None:
        super().__init__(word, line, values)
        self.word, self.line, self.values = word, line, values

    def __str__(self) -> str:
        return self.said("en")

    def said(self, language: str) -> str:
        """In a language's sentences."""
        values = dict(self.values)
        if where := values.pop("where", None):
            values["what"] = say(language, f"wrong.{where}", **values)
        what = say(language, self.word, **values)
        return say(language, "upload.line", line=self.line, what=what) if self.line else what


def ask_all(store: Store, settings: Project, text: str) -> dict[str, int]:
    """Ask all of a file's questions, or none if one of them cannot be; how many of each use it holds.

    The same line again is the same question.
    """
    found: dict[str, list[Question]] = {}
    for number, line in _lines(text):
        try:
            use, asked = question_of(json.loads(line), settings)
        except json.JSONDecodeError as error:
            raise UploadError("upload.json", number, at=error.colno) from None
        except RecursionError:
            raise UploadError("upload.odd", number) from None
        except UploadError as error:
            raise UploadError(error.word, number, **error.values) from None
        except (ValueError, TypeError, KeyError) as error:
            raise UploadError("upload.other", number, why=error) from None
        found.setdefault(use, []).append(asked)
    if not found:
        raise UploadError("upload.empty")
    for use in ("tutorial", "exam", "gold", "question"):  # nobody is asked before what prepares them is there
        if use in found:
            store.ask(found[use], state=USES[use])
    return {use: len(asked) for use, asked in found.items()}


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        if number > MOST_LINES:
            raise UploadError("upload.long", most=f"{MOST_LINES:,}")
        if line.strip():
            yield number, line


def question_of(row: Any, settings: Project) -> tuple[str, Question]:
    """A line's use and question. Raises ValueError, TypeError or KeyError for what is none."""
    if not isinstance(row, dict):
        raise UploadError("upload.object")
    for name in row:
        if name not in KNOWN:
            raise UploadError("upload.field", name=name, known=", ".join(sorted(KNOWN)))
    try:
        sane(row)
    except ValueError:
        raise UploadError("upload.odd") from None
    kind, use = row.get("kind", settings.kind), row.get("use", "question")
    for name, got, known in (("kind", kind, list(KINDS)), ("use", use, list(USES))):
        if got not in known:
            raise UploadError("upload.one_of", name=name, known=", ".join(known), got=json.dumps(got))
    items, spec = _items(row, kind), {name: row[name] for name in SPEC if name in row}
    low, high = KINDS[kind].items
    if not low <= len(items) <= high:
        wanted = f"{low}–{high}" if high > low else low
        raise UploadError("upload.count", kind=kind, wanted=wanted, got=len(items))
    if len({each.id for each in items}) < len(items):
        raise UploadError("upload.same")
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
        votes=_votes(row.get("votes", settings.votes)),
    )
    return use, asked


def _votes(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_VOTES:
        raise UploadError("upload.votes", got=json.dumps(value))
    return value


def _items(row: Mapping[str, Any], kind: str) -> tuple[Item, ...]:
    """`task`, which says what agents are compared at, is a column of all of them."""
    columns = {"task": _task(row["task"])} if "task" in row else {}
    if "clips" in row:
        if not KINDS[kind].clips:
            raise UploadError("upload.no_clips", kind=kind)
        if not isinstance(row["clips"], list):
            raise UploadError("upload.list", name="clips")
        return tuple(_clip(each, columns) for each in row["clips"])
    if "prompt" not in row:
        raise UploadError("upload.missing", name="prompt")
    prompt, completions = _content(row["prompt"], "prompt"), row.get("completions")
    if completions is None and kind == "demonstration":
        completions = [""]
    if completions is None:
        raise UploadError("upload.missing", name="completions")
    if not isinstance(completions, list):
        raise UploadError("upload.list", name="completions")
    origins = row.get("origins", [""] * len(completions))
    if not isinstance(origins, list) or len(origins) != len(completions):
        raise UploadError("upload.origins")
    return tuple(
        Text(prompt=prompt, completion=_content(each, "completions"), origin=str(origin), columns=columns)
        for each, origin in zip(completions, origins, strict=True)
    )


def _task(said: Any) -> str:
    if not isinstance(said, str) or not 0 < len(said.strip()) <= 100:
        raise UploadError("upload.task")
    return said.strip()


def _clip(each: Any, columns: Mapping[str, Any]) -> Clip:
    if not isinstance(each, dict):
        raise UploadError("upload.clip")
    try:
        return Clip(
            media=str(each["media"]),
            digest=str(each["digest"]),
            seconds=float(each["seconds"]),
            steps=str(each.get("steps", "")),
            origin=str(each.get("origin", "")),
            columns={**columns, **({"rate": float(each["rate"])} if "rate" in each else {})},
        )
    except KeyError as error:
        raise UploadError("upload.missing", name=error.args[0]) from None
    except (ValueError, TypeError):
        raise UploadError("upload.clip") from None


def _content(value: Any, name: str) -> Content:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(turn, dict) and {"role", "content"} <= set(turn) for turn in value):
        return tuple(Message(role=str(turn["role"]), content=str(turn["content"])) for turn in value)
    raise UploadError("upload.text", name=name)


def _check_gold(kind: str, items: tuple[Item, ...], spec: Mapping[str, Any], use: str) -> None:
    gold = spec.get("gold")
    if gold is None:
        if use in ("gold", "exam"):
            raise UploadError("upload.gold_missing", use=use)
        return
    try:
        checked = check(kind, gold, items, spec)
    except AnswerError as error:
        raise UploadError("upload.gold", where=error.where, count=len(items)) from None
    wrong = [name for name, value in gold.items() if checked.get(name) != value]
    if wrong:
        wanted = json.dumps(checked.get(wrong[0]), ensure_ascii=False)
        raise UploadError("upload.gold_form", name=wrong[0], wanted=wanted)
