"""Numbers as a reader wants to meet them."""

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from tercih.evaluation.intervals import Estimate


def figure(value: float | None, digits: int = 3) -> str:
    """Three significant digits (three decimals from 0.01 on) and a true minus sign; a dash for nothing."""
    if value is None or not math.isfinite(value):
        return "—"
    if value == round(value) and abs(value) < 1e6:
        return f"{value:,.0f}".replace("-", "−")
    size = math.floor(math.log10(abs(value)))
    if not -4 <= size < 6:
        return f"{value:.{digits - 1}e}".replace("-", "−")
    decimals = max(0, digits - 1 - size)
    return f"{value:,.{min(decimals, 3) if size >= -2 else decimals}f}".replace("-", "−")


def share(value: float | None) -> str:
    """A proportion as a percentage; the last step to 0 and 100 is not rounded away."""
    if value is None or not math.isfinite(value):
        return "—"
    near_the_end = 0 < value < 0.01 or 0.99 < value < 1
    return f"{value:.1%}" if near_the_end else f"{value:.0%}"


def share_interval(one: Estimate) -> str:
    """ "66–75%"; empty where there is no interval."""
    return "" if math.isnan(one.low) else f"{share(one.low).removesuffix('%')}–{share(one.high)}"


def interval(low: float | None, high: float | None) -> str:
    """ "1.2 to 3.4"; empty where there is none."""
    return "" if low is None or high is None else f"{figure(low)} to {figure(high)}"


def duration(seconds: float | None) -> str:
    """ "48 s", "12 min", "3 h 20 min"."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def moment(value: object) -> str:
    """A time of day from ISO text or from seconds since 1970 (then in UTC); other text stays as it is."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M UTC")
    try:
        return datetime.fromisoformat(str(value)).strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return str(value or "")


def flatten(config: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """("ppo.clip", "0.2") for every leaf of a nested config."""
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{name}.")
        else:
            yield name, str(value)


def prose(text: object) -> str:
    """A prompt or completion as plain text: itself, or the turns of a conversation one under the other."""
    if isinstance(text, list):
        turns = [turn if isinstance(turn, dict) else {"content": turn} for turn in text]
        return "\n\n".join(": ".join(str(turn[key]) for key in ("role", "content") if key in turn) for turn in turns)
    return str(text)
