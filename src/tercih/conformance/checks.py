"""What a proof finds: four checks, each a number beside its bound."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tercih.evaluation.intervals import bootstrap_mean


@dataclass(frozen=True, slots=True)
class Check:
    """Whether `value` of `metric` kept to its `bound`; `detail` says what else belongs to it."""

    passed: bool
    metric: str
    value: float
    bound: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.metric} {self.value:.3g} {self.bound}"

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON, where a number that is not finite is null."""
        return asdict(self) | {"value": self.value if math.isfinite(self.value) else None}


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """The acceptance contract: exact equality, a sign with its interval, chance under control, a change by ablation."""

    identity: Check
    ordering: Check
    negative_control: Check
    ablation: Check

    @property
    def passed(self) -> bool:
        return all(check.passed for check in (self.identity, self.ordering, self.negative_control, self.ablation))


def at_most(metric: str, value: float, bound: float, detail: str = "") -> Check:
    return Check(bool(value <= bound), metric, float(value), f"≤ {bound:g}", detail)


def at_least(metric: str, value: float, bound: float, detail: str = "") -> Check:
    return Check(bool(value >= bound), metric, float(value), f"≥ {bound:g}", detail)


def above_zero(metric: str, differences: Sequence[float]) -> Check:
    """Paired differences, one a seed: their mean is positive, and so is all of its 95 % interval."""
    if not all(math.isfinite(difference) for difference in differences):
        return Check(False, metric, math.nan, "> 0", "not finite")
    mean = bootstrap_mean(differences, seed=0)
    detail = f"95 % interval [{mean.low:.3g}, {mean.high:.3g}] over {mean.n} paired seeds"
    return Check(mean.low > 0, metric, mean.value, "> 0", detail)


def every(*checks: Check) -> Check:
    """All of them in one: the first that failed, or else the first, speaks for the rest."""
    speaker = next((check for check in checks if not check.passed), checks[0])
    detail = "; ".join([speaker.detail] * bool(speaker.detail) + [str(check) for check in checks])
    return Check(speaker.passed, speaker.metric, speaker.value, speaker.bound, detail)
