"""What goes into the store: a question about two items, and one rater's answer to it."""

from dataclasses import dataclass

from tercih.records import Answer, Item, Side, content_hash


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """Which is better, `a` or `b`? Asked by a run at a step; `index` is the question's place within the step.

    `propensity` is the probability with which `sampler` chose to ask it.
    """

    a: Item
    b: Item
    run: str
    step: int
    index: int
    sampler: str = "random"
    propensity: float = 1.0

    def __post_init__(self) -> None:
        if self.a.id == self.b.id:
            raise ValueError("question.a and question.b read the same; ask about two different items")
        if not 0 < self.propensity <= 1:
            raise ValueError(f"question.propensity must be in (0, 1], got {self.propensity}")

    @property
    def id(self) -> str:
        """A hash of run, step and index: a run that is resumed asks under the same ids."""
        return content_hash([self.run, self.step, self.index])


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """One rater's answer to the question of that id; fields as in `Comparison`.

    `time` is in seconds since 1970 (None: now), `seconds` how long the rater took.
    """

    question: str
    rater: str
    answer: Answer
    left: Side | None = None
    strength: float = 1.0
    time: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.answer not in ("a", "b", "tie"):
            raise ValueError(f"judgement.answer must be 'a', 'b' or 'tie', got {self.answer!r}")
        if self.left not in ("a", "b", None):
            raise ValueError(f"judgement.left must be 'a', 'b' or None, got {self.left!r}")
        if not 0 < self.strength <= 1:
            raise ValueError(f"judgement.strength must be in (0, 1], got {self.strength}")

    @property
    def said(self) -> tuple[str, str | None, float]:
        """What makes two judgements the same; when they were made does not."""
        return self.answer, self.left, self.strength
