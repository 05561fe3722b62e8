"""Over-optimisation: what people want (gold) against what is maximised (proxy) over √KL (Gao et al. 2022)."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

KEYS = ("step", "kl", "proxy", "gold", "gold_low", "gold_high")


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """The policy at one step: KL from its start in nats, mean proxy and gold scores, the interval of gold."""

    step: int
    kl: float
    proxy: float
    gold: float
    gold_low: float
    gold_high: float

    @property
    def root_kl(self) -> float:
        """The distance d = √KL in √nats; an estimated KL that came out below zero counts as 0."""
        return math.sqrt(max(self.kl, 0.0))


def read_curve(rows: Iterable[Mapping[str, Any]]) -> list[Point]:
    """Points in the order of their steps; rows that lack a number, or hold one that is not finite, are left out."""
    complete = [row for row in rows if all(_finite(row.get(key)) for key in KEYS)]
    return sorted((Point(**{key: row[key] for key in KEYS}) for row in complete), key=lambda point: point.step)


def best_point(curve: Sequence[Point]) -> Point:
    """Where gold was highest (the earliest such point)."""
    if not curve:
        raise ValueError("an empty curve has no best point")
    return max(curve, key=lambda point: point.gold)


def over_optimised_from(curve: Sequence[Point]) -> Point | None:
    """The summit of the hump, or None: gold has since fallen while the proxy rose.

    Fallen means that the last gold lies below the summit's interval and the summit above the last one's. The summit is
    the luckiest of many points, so one of the two conditions alone would be met by chance too often.
    """
    if len(curve) < 2:
        return None
    top, last = best_point(curve), curve[-1]
    fell = last.gold < top.gold_low and top.gold > last.gold_high
    return top if fell and last.proxy > top.proxy else None


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
