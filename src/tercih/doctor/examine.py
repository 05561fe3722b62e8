"""The table of checks, and who runs them."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from tercih.doctor import data, model
from tercih.doctor.inspection import Finding, Inspection, error
from tercih.doctor.memory import memory
from tercih.doctor.patient import Patient

DATA_CHECKS: dict[str, Callable[[Inspection], Finding | None]] = {
    "empty answers": data.empty_answers,
    "chosen = rejected": data.same_answers,
    "leaks": data.leaks,
    "duplicates": data.duplicates,
    "length bias": data.length_bias,
    "position bias": data.position_bias,
}
MODEL_CHECKS: dict[str, Callable[[Patient], Finding | None]] = {
    "vocabulary": model.vocabulary,
    "chat template": model.chat_template,
    "tokenisation": model.tokenised,
    "context": model.context,
    "engine = trainer": model.same_numbers,
    "answers end": model.stops,
    "EOS and pad": model.end_tokens,
    "EOS in the text": model.end_in_text,
    "prompt | answer": model.boundary,
    "precision": model.precision,
    "memory": memory,
}
T = TypeVar("T")
WORST_FIRST = ("error", "warning", "ok")


def examine(case: Inspection) -> list[Finding]:
    """All that is found, errors first; the first of them is the one to mend first. A check may have nothing to say."""
    try:
        patient = Patient(case)
    except (ValueError, OSError) as problem:  # a model or tokenizer that cannot be loaded says why and what to do
        findings = [_refused("model", problem)]
    else:
        findings = _run(MODEL_CHECKS, patient)
    findings += _run(DATA_CHECKS, case)
    return sorted(findings, key=lambda finding: WORST_FIRST.index(finding.level))


def _run(checks: dict[str, Callable[[T], Finding | None]], subject: T) -> list[Finding]:
    findings: list[Finding] = []
    for title, check in checks.items():
        try:
            found = check(subject)
        except (ValueError, FloatingPointError) as problem:
            found = _refused(title, problem)
        if found is not None and found.detail not in {finding.detail for finding in findings}:
            findings.append(replace(found, title=title))
    return findings


def _refused(title: str, problem: Exception) -> Finding:
    """Our own errors end in what to do about them."""
    detail, _, mend = str(problem).rpartition("; ")
    return replace(error(detail or mend, mend if detail else ""), title=title)
