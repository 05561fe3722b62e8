"""One number with its interval, or the reason why there is none."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from scipy.stats import beta

from tercih.feedback.quality import Interval

Values = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One number with its 95 % interval and what it rests on; `missing` says why there is none."""

    name: str
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    percent: bool = False
    missing: str = ""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Figure":
        """From JSON, which has null for NaN."""
        numbers = {name: math.nan if row[name] is None else row[name] for name in ("value", "low", "high")}
        return cls(**{**row, **numbers})


def attempt(name: str, work: Callable[[], Values]) -> Figure:
    """A figure, or the reason why there is none."""
    try:
        return Figure(name=name, **work())
    except (ValueError, ZeroDivisionError) as error:
        return Figure(name=name, missing=str(error))


def between(found: Interval, n: int, *, percent: bool = True) -> Values:
    return {"value": found.value, "low": found.low, "high": found.high, "n": n, "percent": percent}


def share(part: int, whole: int, missing: str) -> Values:
    """With its exact 95 % interval (Clopper & Pearson 1934)."""
    if not whole:
        raise ValueError(missing)
    low = float(beta.ppf(0.025, part, whole - part + 1)) if part else 0.0
    high = float(beta.ppf(0.975, part + 1, whole - part)) if part < whole else 1.0
    return {"value": part / whole, "low": low, "high": high, "n": whole, "percent": True}


def normal(name: str, value: float, error: float, n: int) -> Figure:
    return Figure(name=name, value=value, low=value - 1.96 * error, high=value + 1.96 * error, n=n)
