"""Every check of the data finds the fault that was planted, and nothing in good data."""

import random

import pytest

from tercih.doctor import data
from tercih.doctor.examine import DATA_CHECKS
from tercih.doctor.inspection import Finding, Inspection
from tercih.records import (
    Comparison,
    Consensus,
    Demonstration,
    Dialogue,
    Message,
    Ranking,
    Rating,
    StepLabels,
    Text,
    Turn,
)


def pair(number: int, chosen: str = "good", rejected: str = "bad!", **fields: object) -> Comparison:
    a, b = (Text(prompt=f"question {number}", completion=text) for text in (chosen, rejected))
    return Comparison(a=a, b=b, answer="a", rater="unknown", **fields)  # type: ignore[arg-type]


def found(check: str, records: list[object], heldout: list[object] | None = None) -> Finding:
    finding = DATA_CHECKS[check](Inspection(model="none", records=records, heldout=heldout or []))
    assert finding is not None
    return finding


def clean(count: int = 40) -> list[object]:
    """Chosen answers as often longer as shorter, shown on either side."""
    return [pair(n, "good" * (1 + n % 2), "bad" * (2 - n % 2), left="a" if n % 4 < 2 else "b") for n in range(count)]


def test_good_data() -> None:
    case = Inspection(model="none", records=clean(), heldout=[pair(n) for n in range(100, 110)])
    findings = [check(case) for check in DATA_CHECKS.values()]
    assert [finding.level for finding in findings if finding] == ["ok"] * len(DATA_CHECKS)
    assert not any(finding.mend for finding in findings if finding)


def test_nothing_is_said_of_nothing() -> None:
    case = Inspection(model="none")
    assert [check(case) for check in DATA_CHECKS.values()] == [None] * len(DATA_CHECKS)


def test_empty_answers() -> None:
    finding = found("empty answers", [*clean(), pair(1, rejected=" \n")])
    assert finding.level == "error"
    assert "1 of 82 answers are empty, the first is number 82" in finding.detail


def test_prompts_to_be_answered_are_not_empty_answers() -> None:
    assert data.empty_answers(Inspection(model="none", records=[Text(prompt="p", completion="")])) is None


@pytest.mark.parametrize(("rejected", "level"), [("good", "error"), (" Good\n", "warning")])
def test_same_answers(rejected: str, level: str) -> None:
    finding = found("chosen = rejected", [*clean(), pair(1, rejected=rejected)])
    assert finding.level == level
    assert "1 of 41 pairs" in finding.detail


def test_duplicates() -> None:
    finding = found("duplicates", [*clean(), *clean(2)])
    assert (finding.level, finding.detail) == ("warning", "2 of 42 rows repeat another")
    raters = [Comparison(a=pair(1).a, b=pair(1).b, answer="a", rater=name) for name in ("ann", "bob")]
    assert found("duplicates", [*raters]).level == "ok"
    other = Comparison(a=pair(1).a, b=pair(1).b, answer="b", rater="unknown")
    assert found("duplicates", [pair(1), other]).level == "ok"
    took = [Dialogue(turns=(Turn(context="hello", offered=(" hi", " no"), said=said),)) for said in (0, 1, 1)]
    assert found("duplicates", [*took]).detail == "1 of 3 rows repeat another"


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("question 3", "1 of 2 held-out prompts are trained on"),
        (" Question  3 ", "0 of 2 held-out prompts are trained on, 1 up to case and space"),
    ],
)
def test_leaks(prompt: str, said: str) -> None:
    heldout = [Text(prompt="another", completion=""), Text(prompt=prompt, completion="")]
    finding = found("leaks", clean(), [*heldout])
    assert (finding.level, finding.detail) == ("error", said)


def test_leaks_in_conversations() -> None:
    talk = Text(prompt=(Message(role="user", content="hello"),), completion="hi")
    assert found("leaks", [Demonstration(item=talk)], [Demonstration(item=talk)]).level == "error"


def test_length_bias() -> None:
    finding = found("length bias", [pair(n, "good and long") for n in range(30)])
    assert finding.level == "warning"
    assert "longer in 100% [89%, 100%] of 30 pairs; choosing the longer answer scores 100%" in finding.detail
    finding = found("length bias", [pair(n, "no") for n in range(30)])
    assert "choosing the shorter answer scores 100%" in finding.detail


def test_length_bias_reads_the_label() -> None:
    rng = random.Random(0)
    texts = [
        (Text(prompt=str(n), completion="long answer"), Text(prompt=str(n), completion="short")) for n in range(99)
    ]
    coins = [Comparison(a=a, b=b, answer=rng.choice(["a", "b"]), rater="r") for a, b in texts]  # type: ignore[arg-type]
    assert found("length bias", [*coins]).level == "ok"
    believed = [Consensus(a=b, b=a, p_a=0.2, p_b=0.7) for a, b in texts]
    assert "longer in 100%" in found("length bias", [*believed]).detail
    ties = [Comparison(a=a, b=b, answer="tie", rater="r") for a, b in texts]
    assert data.length_bias(Inspection(model="none", records=ties)) is None


def test_position_bias() -> None:
    assert found("position bias", [pair(n, left="a") for n in range(30)]).level == "warning"
    assert data.position_bias(Inspection(model="none", records=[pair(1)])) is None


def test_rankings_are_read_as_well() -> None:
    items = tuple(Text(prompt="p", completion=text) for text in ("a", "b", ""))
    finding = found("empty answers", [Ranking(items=items, order=(0, 1, 2), rater="r")])
    assert "1 of 3 answers are empty" in finding.detail


def test_ratings_and_steps_are_read_as_well() -> None:
    empty, item = Text(prompt="p", completion=""), Text(prompt="p", completion="c")
    records = [Rating(item=empty, score=1, rater="r"), StepLabels(item=item, good=(True,), rater="r")]
    assert "1 of 2 answers are empty" in found("empty answers", list(records)).detail
