"""What people say, and about what. Standard library only, so that a labelling server needs no torch.

Two sorts of record live here. What somebody *said* (`Comparison`, `Ranking`, `Thumb`, `Demonstration`) names its rater,
its time and what was shown; it is never changed. What the system *believes* after weighing those voices (`Consensus`)
names none of them. Both are about items: a `Text`, one prompt with one completion, or a `Clip` of behaviour.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal

Side = Literal["a", "b"]
Answer = Literal["a", "b", "tie"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One turn of a conversation: `role` is "system", "user", "assistant" or "tool"."""

    role: str
    content: str


Content = str | tuple[Message, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A prompt and one completion of it; both are plain text or turns of a conversation.

    `prompt_ids` and `completion_ids` are the tokens that were really seen and sampled (empty when nobody has tokenised
    the item yet) and `tokenizer` the fingerprint of the tokenizer that made them: training uses these ids and never
    re-tokenises the text. `origin` says what wrote the completion; raters never see it. `columns` are the data set's
    further fields, handed to reward functions by name.
    """

    prompt: Content
    completion: Content
    prompt_ids: tuple[int, ...] = ()
    completion_ids: tuple[int, ...] = ()
    tokenizer: str = ""
    origin: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """A hash of what a rater would read: equal items have equal ids, whoever wrote them."""
        return content_hash([_plain(self.prompt), _plain(self.completion)])


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """A moment of behaviour that people can watch: a video, and what reward learning reads instead of pixels.

    `media` is the video's file and `steps` that of what was observed and done, both relative to the folder of clips;
    `digest` is a hash of the steps' content where the video is drawn only when somebody looks, else of the video's;
    `seconds` is its length. `columns["rate"]` may say how many frames it has a second. `origin` and the other `columns`
    as in `Text`.
    """

    media: str
    digest: str
    seconds: float
    steps: str = ""
    origin: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """A hash of what a rater would see."""
        return content_hash(["clip", self.digest])


Item = Text | Clip

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    Of = TypeVar("Of", bound=Item, default=Text)  # `Comparison` alone is about texts, `Comparison[Clip]` about clips
else:
    from typing import TypeVar

    Of = TypeVar("Of")


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison(Generic[Of]):
    """One rater's answer to "which is better, a or b?".

    `left` is the item that was shown on the left (or first); None where the source does not say. `strength` in (0, 1]
    is how much better the rater called it, 1 where nobody asked; `margin` a difference of ratings where the source has
    one. `propensity` is the probability with which `sampler` chose to ask this question.
    """

    a: Of
    b: Of
    answer: Answer
    rater: str
    left: Side | None = None
    strength: float = 1.0
    margin: float = 0.0
    time: float | None = None
    seconds: float | None = None
    sampler: str = "random"
    propensity: float = 1.0

    def __post_init__(self) -> None:
        if self.answer not in ("a", "b", "tie"):
            raise ValueError(f"comparison.answer must be 'a', 'b' or 'tie', got {self.answer!r}")
        if self.left not in ("a", "b", None):
            raise ValueError(f"comparison.left must be 'a', 'b' or None, got {self.left!r}")
        if not 0 < self.propensity <= 1:
            raise ValueError(f"comparison.propensity must be in (0, 1], got {self.propensity}")

    @property
    def pair(self) -> tuple[str, str]:
        """What the question was about, whichever way round it was shown."""
        return self.a.id, self.b.id


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking(Generic[Of]):
    """One rater's order of K answers to one prompt: `order[0]` indexes the best item, `order[-1]` the worst."""

    items: tuple[Of, ...]
    order: tuple[int, ...]
    rater: str
    time: float | None = None

    def __post_init__(self) -> None:
        if len(self.items) < 2:
            raise ValueError("a ranking needs at least two items")
        if sorted(self.order) != list(range(len(self.items))):
            raise ValueError(f"ranking.order must name each of {len(self.items)} items once, got {self.order}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Thumb(Generic[Of]):
    """One rater's thumb up (`good`) or down on one item alone."""

    item: Of
    good: bool
    rater: str
    time: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Demonstration:
    """Somebody showed how it is done: `item.completion` is what the model should learn to say."""

    item: Text
    rater: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rating(Generic[Of]):
    """One rater's score of an item on a scale from `low` to `high`, such as Likert's 1 to 7; `aspect` says of what."""

    item: Of
    score: float
    rater: str
    low: float = 1
    high: float = 7
    aspect: str = ""
    time: float | None = None

    def __post_init__(self) -> None:
        if not self.low <= self.score <= self.high:
            raise ValueError(f"rating.score must be in [{self.low:g}, {self.high:g}], got {self.score:g}")


@dataclass(frozen=True, kw_only=True, slots=True)
class StepLabels:
    """Which steps of a chain of thought one rater called right: `good` has one entry for each of the first steps of
    `item.completion`, whose steps are its lines. Steps behind the last entry were not judged."""

    item: Text
    good: tuple[bool, ...]
    rater: str
    time: float | None = None

    def __post_init__(self) -> None:
        if not 0 < len(self.good) <= len(self.prefixes):
            raise ValueError(
                f"step_labels.good must have 1 to {len(self.prefixes)} entries, one a step, got {len(self.good)}"
            )

    @property
    def prefixes(self) -> tuple[str, ...]:
        return prefixes(str(self.item.completion))


def prefixes(completion: str) -> tuple[str, ...]:
    """A chain of thought up to the end of each of its lines; lines without a word belong to the step before them."""
    lines = completion.split("\n")
    ends = [at for at, line in enumerate(lines) if line.strip()]
    return tuple("\n".join(lines[: end + 1]) for end in ends) or (completion,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """What there was to say after `context`: `said` indexes what was said of it, None where nobody has spoken yet, and
    `reward` is what came of that, before the next turn or at the end."""

    context: Content
    offered: tuple[Content, ...]
    said: int | None = None
    reward: float = 0.0

    def __post_init__(self) -> None:
        if not self.offered:
            raise ValueError("turn.offered must hold at least one utterance")
        if len(set(self.offered)) < len(self.offered):
            raise ValueError("turn.offered holds an utterance twice")
        if self.said is not None and not 0 <= self.said < len(self.offered):
            raise ValueError(f"turn.said must be from 0 to {len(self.offered) - 1}, got {self.said}")
        if not math.isfinite(self.reward):
            raise ValueError(f"turn.reward must be finite, got {self.reward}")

    @property
    def items(self) -> tuple[Text, ...]:
        return tuple(Text(prompt=self.context, completion=utterance) for utterance in self.offered)


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialogue:
    """The turns of one speaker who could choose what to say, in their order; nothing follows the last."""

    turns: tuple[Turn, ...]

    def __post_init__(self) -> None:
        if not self.turns:
            raise ValueError("a dialogue needs at least one turn")

    @property
    def items(self) -> tuple[Text, ...]:
        """All that could have been said."""
        return tuple(item for turn in self.turns for item in turn.items)


@dataclass(frozen=True, kw_only=True, slots=True)
class Critique(Generic[Of]):
    """What one rater wrote of an item, and how they would have it (`correction`, empty where none was given)."""

    item: Of
    critique: str
    rater: str
    correction: str = ""
    time: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Characters `start` to `end` (exclusive) of a completion that a rater marked, and as what."""

    start: int
    end: int
    kind: str
    note: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(f"span must have 0 <= start < end, got {self.start} and {self.end}")


@dataclass(frozen=True, kw_only=True, slots=True)
class SpanLabels(Generic[Of]):
    """The spans of an item that one rater marked; none says that nothing was wrong."""

    item: Of
    spans: tuple[Span, ...]
    rater: str
    time: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleLabel(Generic[Of]):
    """Whether an item breaks one rule, asked one at a time (Glaese et al. 2022, arXiv:2209.14375)."""

    item: Of
    rule: str
    broken: bool
    rater: str
    certain: bool = True
    time: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedSignal(Generic[Of]):
    """+1 and -1 that a rater gave while a clip played: pairs of (seconds since it began, value).

    `steps` says of each which step was on the screen, counted from 1 (0: before the first), where people watched an
    agent act; else it is empty.
    """

    item: Of
    signals: tuple[tuple[float, float], ...]
    rater: str
    time: float | None = None
    steps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if any(at < 0 for at, _ in self.signals):
            raise ValueError("timed_signal.signals must not lie before the clip began")
        if self.steps and len(self.steps) != len(self.signals):
            raise ValueError(f"timed_signal.steps must be one a signal, got {len(self.steps)} of {len(self.signals)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Consensus(Generic[Of]):
    """What the system believes of a pair after weighing its raters: P(a better), P(b better); the rest is P(tie).

    `weight` is how much this belief counts in training, `margin` as in `Comparison`, `votes` how many judgements it
    rests on.
    """

    a: Of
    b: Of
    p_a: float
    p_b: float
    weight: float = 1.0
    margin: float = 0.0
    votes: int = 1

    def __post_init__(self) -> None:
        if not (0 <= self.p_a <= 1 and 0 <= self.p_b <= 1 and self.p_a + self.p_b <= 1 + 1e-9):
            raise ValueError(f"consensus.p_a and p_b must be probabilities with a sum <= 1, got {self.p_a}, {self.p_b}")
        if not self.weight >= 0:
            raise ValueError(f"consensus.weight must be >= 0, got {self.weight}")


def content_hash(content: object) -> str:
    """A short stable fingerprint of any JSON-serialisable value."""
    return hashlib.sha256(json.dumps(content, ensure_ascii=False, sort_keys=True).encode()).hexdigest()[:20]


def _plain(content: Content) -> str | list[list[str]]:
    return content if isinstance(content, str) else [[m.role, m.content] for m in content]
