"""What the API takes and gives. Everything taken is bounded, and unknown fields are errors."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

from tercih.feedback.kinds import MOST_CHARACTERS
from tercih.feedback.projects import Project
from tercih.records import Clip, Content, Item, Message, Text

MOST = 1000  # questions in one call
DEEPEST = 12  # levels of a JSON value
LONGEST = 200_000  # characters of one text
WIDEST = 2**53  # whole numbers that JSON carries exactly


def sane(value: Any, depth: int = 0) -> Any:
    """A JSON value that any database can keep. Raises ValueError."""
    if depth > DEEPEST:
        raise ValueError(f"JSON may be {DEEPEST} levels deep")
    if isinstance(value, dict):
        for name, inner in value.items():
            sane(name, depth)
            sane(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            sane(inner, depth + 1)
    elif isinstance(value, str):
        if "\0" in value or any("\ud800" <= sign <= "\udfff" for sign in value):
            raise ValueError("text must not hold NUL or half a surrogate pair")
    elif isinstance(value, int | float) and not abs(value) <= WIDEST and (isinstance(value, int) or value - value != 0):
        raise ValueError("numbers must be finite, and whole ones below 2**53")
    return value


Words = Annotated[str, Field(max_length=LONGEST), AfterValidator(sane)]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$"), AfterValidator(sane)]
Pseudonym = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Values = Annotated[dict[str, Any], Field(max_length=100), AfterValidator(sane)]
Small = Annotated[int, Field(ge=0, lt=2**31)]
Amount = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Key = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.:-]+$")]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(Strict):
    error: str
    """One sentence: what is wrong and how to mend it."""
    where: str | None = None
    """The field it is about."""


class Turn(Strict):
    role: Annotated[str, Field(max_length=20), AfterValidator(sane)]
    content: Words


Said = Words | Annotated[list[Turn], Field(max_length=500)]


class ItemIn(Strict):
    """A text (prompt and completion) or a clip (media, digest and seconds)."""

    prompt: Said | None = None
    completion: Said | None = None
    media: Name | None = None
    digest: Name | None = None
    seconds: Annotated[float, Field(gt=0, lt=1e6, allow_inf_nan=False)] | None = None
    steps: str = Field("", max_length=200)
    origin: str = Field("", max_length=200)
    columns: Values = {}

    def item(self) -> Item:
        """Raises ValueError where it is neither."""
        sane([self.steps, self.origin])
        if self.media is not None and self.digest is not None and self.seconds is not None and self.prompt is None:
            return Clip(
                media=self.media, digest=self.digest, seconds=self.seconds, steps=self.steps, origin=self.origin,
                columns=self.columns,
            )  # fmt: skip
        if self.prompt is None or self.completion is None or self.media is not None:
            raise ValueError("an item has a prompt and a completion, or media, digest and seconds")
        return Text(
            prompt=_content(self.prompt), completion=_content(self.completion), origin=self.origin, columns=self.columns
        )


class QuestionIn(Strict):
    """`run`, `step` and `index` make its id: the same again is the same question."""

    run: Name
    step: Small
    index: Small
    items: Annotated[list[ItemIn], Field(min_length=1, max_length=9)]
    kind: str | None = Field(None, max_length=32)
    spec: Values = {}
    sampler: Name = "random"
    propensity: Annotated[float, Field(gt=0, le=1)] = 1.0
    votes: Annotated[int, Field(ge=1, le=10_000)] | None = None
    state: Literal["open", "gold", "tutorial", "exam"] = "open"


class QuestionsIn(Strict):
    questions: Annotated[list[QuestionIn], Field(max_length=MOST)]


class AnswerIn(Strict):
    answer: Values
    key: Key | None = None
    """Of your making: the same again changes nothing."""
    seconds: Annotated[float, Field(ge=0, lt=1e7, allow_inf_nan=False)] | None = None
    version: Small | None = None
    """The version this one replaces, where an answer is changed."""
    next: bool = False
    """Claim the next question in the same call."""


class SkipIn(Strict):
    reason: Annotated[str, Field(max_length=500), AfterValidator(sane)] = ""
    key: Key | None = None


class UndoIn(Strict):
    key: Key | None = None


class SuggestionIn(Strict):
    answer: Values
    source: Name
    """What suggests it: the name of a model."""


class ToldIn(Strict):
    result: Values


class RaterIn(Strict):
    id: Pseudonym
    kind: Literal["person", "simulated"] = "person"
    role: Literal["rater", "lead", "service"] = "rater"
    stratum: Pseudonym | None = None


class RaterChange(Strict):
    state: Literal["active", "paused"]


class GuidelineIn(Strict):
    text: Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS), AfterValidator(sane)]


def _setting(hint: Any) -> Any:
    bounded: dict[Any, Any] = {
        int: Annotated[int, Field(ge=0, le=10_000)],
        float: Amount,
        Mapping[str, int]: dict[Pseudonym, Annotated[int, Field(ge=0, lt=2**31)]],
        Mapping[str, float]: dict[Pseudonym, Amount],
        str: Annotated[str, Field(max_length=10_000), AfterValidator(sane)],
        bool: bool,
    }
    return bounded[hint] | None


_HINTS = get_type_hints(Project)
_SETTINGS: dict[str, Any] = {f.name: (_setting(_HINTS[f.name]), None) for f in fields(Project) if f.name != "id"}
ProjectChange = create_model("ProjectChange", __base__=Strict, **_SETTINGS)
ProjectIn = create_model("ProjectIn", __base__=ProjectChange, id=(Name, ...))


def shown(item: Item) -> dict[str, Any]:
    """What a rater may see of an item: not what wrote it, nor what else is known of it."""
    if isinstance(item, Clip):
        return {"media": item.media, "seconds": item.seconds}
    return {"prompt": _plain(item.prompt), "completion": _plain(item.completion)}


def known(item: Item) -> dict[str, Any]:
    """All that is known of an item."""
    more = {"digest": item.digest, "steps": item.steps} if isinstance(item, Clip) else {}
    return {"id": item.id} | shown(item) | more | {"origin": item.origin, "columns": dict(item.columns)}


def _content(said: str | list[Turn]) -> Content:
    return said if isinstance(said, str) else tuple(Message(role=turn.role, content=turn.content) for turn in said)


def _plain(content: Content) -> str | list[dict[str, str]]:
    return content if isinstance(content, str) else [{"role": m.role, "content": m.content} for m in content]
