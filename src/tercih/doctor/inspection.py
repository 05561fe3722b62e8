"""What is examined, and what is found."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tercih.evaluation.intervals import Estimate
from tercih.records import (
    Comparison,
    Consensus,
    Content,
    Demonstration,
    Dialogue,
    Ranking,
    Rating,
    RuleLabel,
    StepLabels,
    Text,
    Thumb,
)

Level = Literal["error", "warning", "ok"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """What a run is going to use; `inspect(config)` of a recipe returns one.

    `records` is what it trains on: anything people said, or a `Text` with an empty completion for a prompt to be
    answered. `heldout` is what it is judged on.
    """

    model: str | Path
    records: Sequence[Any] = ()
    heldout: Sequence[Any] = ()
    max_new_tokens: int = 64
    rows: int = 32
    """Responses in one forward and backward pass."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """`mend` is what to do about it, empty where nothing has to be done; `title` is the name of the check."""

    level: Level
    detail: str
    mend: str = ""
    title: str = ""


def ok(detail: str) -> Finding:
    return Finding(level="ok", detail=detail)


def warning(detail: str, mend: str) -> Finding:
    return Finding(level="warning", detail=detail, mend=mend)


def error(detail: str, mend: str) -> Finding:
    return Finding(level="error", detail=detail, mend=mend)


def percent(share: Estimate) -> str:
    return f"{share.value:.0%} [{share.low:.0%}, {share.high:.0%}] of {share.n}"


def texts(record: Any) -> tuple[Text, ...]:
    """All items of a record, or the prompt alone."""
    if isinstance(record, Comparison | Consensus):
        return record.a, record.b
    if isinstance(record, Ranking | Dialogue):
        return record.items
    if isinstance(record, Demonstration | Thumb | Rating | StepLabels | RuleLabel):
        return (record.item,)
    assert isinstance(record, Text), f"not a record: {record!r}"
    return (record,)


def words(content: Content) -> str:
    """What a person reads, whether it is plain text or a conversation."""
    return content if isinstance(content, str) else "\n".join(message.content for message in content)


def normalised(content: Content) -> str:
    """Equal for texts that differ in case and white space alone."""
    return " ".join(words(content).lower().split())
