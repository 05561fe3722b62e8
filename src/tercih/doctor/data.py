"""What is wrong with the data, whatever model reads them."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tercih.doctor.inspection import Finding, Inspection, error, normalised, ok, percent, texts, warning, words
from tercih.evaluation.intervals import wilson
from tercih.records import Comparison, Consensus, Text

BIASED = 0.05  # a share may be this far from one half before it is worth a warning
REPEATED = 0.01


def empty_answers(case: Inspection) -> Finding | None:
    answers = [text for record in case.records if not isinstance(record, Text) for text in texts(record)]
    blank = [place for place, text in enumerate(answers, 1) if not words(text.completion).strip()]
    if not answers:
        return None
    if blank:
        detail = f"{len(blank)} of {len(answers)} answers are empty, the first is number {blank[0]}"
        return error(detail, "remove these rows: there is nothing to learn from them")
    return ok(f"none of {len(answers)} answers is empty")


def same_answers(case: Inspection) -> Finding | None:
    pairs = _pairs(case.records)
    if not pairs:
        return None
    same = [i for i, p in enumerate(pairs, 1) if p.a.completion == p.b.completion]
    near = [i for i, p in enumerate(pairs, 1) if normalised(p.a.completion) == normalised(p.b.completion)]
    if same:
        detail = f"chosen and rejected are the same in {len(same)} of {len(pairs)} pairs, first in pair {same[0]}"
        return error(detail, "remove these pairs; no answer can be preferred to itself")
    if near:
        detail = (
            f"chosen and rejected differ in case or space alone in {len(near)} of {len(pairs)} pairs ({near[0]}, …)"
        )
        return warning(detail, "remove these pairs, unless case and space are what you want to teach")
    return ok(f"chosen and rejected differ in all {len(pairs)} pairs")


def duplicates(case: Inspection) -> Finding | None:
    if not case.records:
        return None
    seen = Counter(_identity(record) for record in case.records)
    spare = len(case.records) - len(seen)
    detail = f"{spare} of {len(case.records)} rows repeat another"
    if spare > REPEATED * len(case.records):
        return warning(detail, "remove repeated rows, unless several people's answers are meant")
    return ok(detail)


def leaks(case: Inspection) -> Finding | None:
    """Held-out prompts that are trained on as well."""
    if not case.heldout:
        return None
    exact = {words(text.prompt) for record in case.records for text in texts(record)} - {""}
    near = {" ".join(prompt.lower().split()) for prompt in exact}
    prompts = list(dict.fromkeys(texts(record)[0].prompt for record in case.heldout))
    same = sum(words(prompt) in exact for prompt in prompts)
    alike = sum(normalised(prompt) in near for prompt in prompts)
    detail = f"{same} of {len(prompts)} held-out prompts are trained on"
    if alike > same:
        detail += f", {alike} up to case and space"
    if alike:
        return error(detail, "take them out of the training data, or the held-out result says nothing")
    return ok(detail)


def length_bias(case: Inspection) -> Finding | None:
    """What a rule that reads nothing but the length would score on the labels."""
    longer = [_longer(pair) for pair in _pairs(case.records)]
    told = [score for score in longer if score is not None]
    if not told:
        return None
    share = wilson(sum(told), len(told))
    rule = f"choosing the {'longer' if share.value >= 0.5 else 'shorter'} answer scores"
    detail = f"the chosen answer is longer in {percent(share)} pairs; {rule} {max(share.value, 1 - share.value):.0%}"
    if (share.low > 0.5 or share.high < 0.5) and abs(share.value - 0.5) > BIASED:
        return warning(detail, "hold the reward model against that number, and report length-controlled win rates")
    return ok(detail)


def position_bias(case: Inspection) -> Finding | None:
    """Whether people chose what they were shown on the left."""
    shown = [r for r in case.records if isinstance(r, Comparison) and r.left is not None and r.answer != "tie"]
    if not shown:
        return None
    share = wilson(sum(r.left == r.answer for r in shown), len(shown))
    detail = f"the chosen answer stood on the left in {percent(share)} pairs"
    if (share.low > 0.5 or share.high < 0.5) and abs(share.value - 0.5) > BIASED:
        return warning(detail, "shuffle the sides when asking, and look for raters who lean to one")
    return ok(detail)


def _pairs(records: Sequence[Any]) -> list[Comparison | Consensus]:
    return [record for record in records if isinstance(record, Comparison | Consensus)]


def _longer(pair: Comparison | Consensus) -> float | None:
    """1 if the preferred answer is the longer one, ½ if they are equally long, None if neither is preferred."""
    if isinstance(pair, Comparison):
        lead = {"a": 1.0, "b": -1.0, "tie": 0.0}[pair.answer]
    else:
        lead = pair.p_a - pair.p_b
    if lead == 0:
        return None
    difference = (len(words(pair.a.completion)) - len(words(pair.b.completion))) * lead
    return 0.5 if difference == 0 else float(difference > 0)


def _identity(record: Any) -> tuple[object, ...]:
    """Equal for rows that say the same by the same person, if persons are named."""
    said = [getattr(record, name, None) for name in ("rater", "answer", "order", "good", "p_a", "p_b", "turns")]
    return (type(record), *said, *(text.id for text in texts(record)))
