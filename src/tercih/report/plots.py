"""The pictures of a report. Each takes rows as the run folder holds them and gives inline SVG, or None without data."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tercih.evaluation.intervals import Estimate, wilson
from tercih.evaluation.over_optimisation import Point, best_point
from tercih.evaluation.run_folder import Row, number
from tercih.report.svg import Plot, Span, around
from tercih.report.words import figure, share, share_interval

MOST_POINTS = 300  # drawn of a training curve; the rest are averaged with their neighbours


def win_strip(rates: Sequence[tuple[str, Estimate]]) -> Markup | None:
    """Win rates with their intervals on one line from 0 to 100 %, against the even chance."""
    if not rates:
        return None
    height = 46 + 44 * len(rates)
    plot = Plot(
        title="Win rates of the policy against its base, with 95% intervals", x=(0, 1), y=(0, len(rates)), percent="xy",
        width=420, height=height, left=14, right=18, top=4, x_label="share of answers that beat the base",
    )  # fmt: skip
    plot.line([(0.5, 0), (0.5, len(rates))], "muted dashed")
    for i, (name, rate) in enumerate(rates):
        y = len(rates) - i - 0.72
        if not math.isnan(rate.low):
            plot.line([(rate.low, y), (rate.high, y)], "one thick")
        plot.dot(rate.value, y, "one", radius=5.5, hint=f"{name}: {share(rate.value)} ({share_interval(rate)})")
        plot.label(0, y, name, dy=-13, style="halo")
        plot.label(1, y, share(rate.value), dx=-58, dy=-13, style="end strong")
        plot.label(1, y, share_interval(rate), dy=-13, style="end quiet")
    return plot.render()


@dataclass(frozen=True, slots=True)
class RaterMark:
    """One rater in the picture: left rate in [low, high], reliability y ± half."""

    name: str
    x: float
    low: float
    high: float
    y: float
    half: float

    @property
    def style(self) -> str:
        """The second colour for a rater whose interval of the left rate excludes one half."""
        return "two" if self.low > 0.5 or self.high < 0.5 else "one"


def raters(rows: Sequence[Row]) -> Markup | None:
    """Reliability of each rater against the share of answers that went to the left item, both with 95% intervals."""
    marks = [mark for row in rows if (mark := _rater_mark(row))]
    if not marks:
        return None
    plot = Plot(
        title="Raters: reliability against left lean",
        x=around([0.35, 0.65, *(edge for m in marks for edge in (m.low, m.high))]),
        y=around([0.0, *(edge for m in marks for edge in (m.y - m.half, m.y + m.half))]),
        x_label="share of answers for the item on the left", y_label="reliability", percent="x", width=480, height=340,
    )  # fmt: skip
    plot.line([(0.5, plot.y[0]), (0.5, plot.y[1])], "muted dashed")
    for m in marks:
        plot.line([(m.low, m.y), (m.high, m.y)], f"error {m.style}")
        plot.line([(m.x, m.y - m.half), (m.x, m.y + m.half)], f"error {m.style}")
    for m in marks:
        plot.dot(m.x, m.y, m.style, "circle" if m.style == "one" else "diamond", radius=4.5, hint=m.name)
    taken = [plot.at(m.x, m.y) for m in marks]
    for m in sorted(marks, key=lambda mark: -abs(mark.x - 0.5)):
        _name_near(plot, m, taken)
    return plot.render()


def _rater_mark(row: Row) -> RaterMark | None:
    x, y = number(row, "left_rate"), number(row, "reliability")
    if x is None or y is None:
        return None
    low, high = number(row, "left_low"), number(row, "left_high")
    edges = (x, x) if low is None or high is None else (low, high)
    return RaterMark(str(row.get("rater", "?"))[:18], x, *edges, y, 1.96 * (number(row, "reliability_se") or 0.0))


def _name_near(plot: Plot, mark: RaterMark, taken: list[tuple[float, float]]) -> None:
    """Writes the name in the first of eight places about the point that is free; a crowd keeps it as a hint only."""
    px, py = plot.at(mark.x, mark.y)
    span = 6.6 * len(mark.name)
    for side, dy in ((1, -6), (1, 14), (-1, -6), (-1, 14), (1, -17), (-1, -17), (1, 25), (-1, 25)):
        boxes = [(px + side * (8 + part * span), py + dy - 4) for part in (0.05, 0.35, 0.65, 0.95)]
        if all(abs(bx - qx) > 12 or abs(by - qy) > 11 for bx, by in boxes for qx, qy in taken):
            taken.extend(boxes)
            plot.label(mark.x, mark.y, mark.name, dx=side * 8, dy=dy, style="halo" if side > 0 else "halo end")
            return


def reliability(bins: Sequence[Row]) -> Markup | None:
    """What the reward model predicted against what came true, a bin; bars are Wilson intervals of the bin's count."""
    known = [
        (confidence, accuracy, int(number(row, "count") or 0))
        for row in bins
        if (confidence := number(row, "confidence")) is not None and (accuracy := number(row, "accuracy")) is not None
    ]
    if not known:
        return None
    plot = Plot(
        title="Calibration of the reward model", x=(0, 1), y=(0, 1), percent="xy", width=480, height=330,
        x_label="predicted chance that the answer is preferred", y_label="share that was preferred",
    )  # fmt: skip
    plot.line([(0, 0), (1, 1)], "muted dashed")
    most = max(count for *_, count in known) or 1
    for row in bins:
        low, high, count = (number(row, key) for key in ("low", "high", "count"))
        if low is not None and high is not None and count:
            top = 0.14 * count / most
            plot.band([(low + 0.008, 0), (high - 0.008, 0)], [(low + 0.008, top), (high - 0.008, top)], "muted")
    plot.line([(x, y) for x, y, _ in known], "one")
    for x, y, count in known:
        if count:
            one = wilson(min(max(y, 0.0), 1.0) * count, count)
            plot.line([(x, one.low), (x, one.high)], "error one")
        plot.dot(x, y, "one", hint=f"predicted {share(x)}, came true {share(y)}, {count} pairs")
    return plot.render()


def training_curve(name: str, label: str, points: Sequence[tuple[float, float]]) -> Markup | None:
    """One metric over the steps of one stage: every value faint, a running mean strong."""
    if len(points) < 2 or points[0][0] == points[-1][0]:
        return None
    thin = _thin(points)
    smooth = _running_mean(thin) if len(thin) > 20 else thin
    plot = Plot(
        title=f"{name} over training steps", x=(thin[0][0], thin[-1][0]), y=around(y for _, y in thin), width=320,
        height=196, x_label="step", y_label=label, left=56, top=10, right=12,
    )  # fmt: skip
    if smooth is not thin:
        plot.line(thin, "one faint")
    plot.line(smooth, "one")
    if len(thin) <= 20:
        for x, y in thin:
            plot.dot(x, y, "one", radius=2.5)
    return plot.render()


def over_optimisation(curve: Sequence[Point], best_of_n: Sequence[Row]) -> tuple[Markup, Markup] | None:
    """Gold with its interval and best-of-n, and the proxy, each over √KL; the summit of gold is marked in both."""
    if len(curve) < 2:
        return None
    reference = [
        (math.sqrt(kl), gold, int(number(row, "n") or 0))
        for row in best_of_n
        if (kl := number(row, "kl_bound")) is not None and kl >= 0 and (gold := number(row, "gold")) is not None
    ]
    span = (0.0, 1.06 * max(1e-6, *(p.root_kl for p in curve), *(d for d, *_ in reference)))
    heights = [edge for p in curve for edge in (p.gold_low, p.gold_high)] + [gold for _, gold, _ in reference]
    first = _over_distance("gold score", span, around(heights), best_point(curve))
    ordered = sorted(curve, key=lambda point: point.root_kl)
    first.band([(p.root_kl, p.gold_low) for p in ordered], [(p.root_kl, p.gold_high) for p in ordered], "one")
    _trace(first, [(p.root_kl, p.gold, f"step {p.step}") for p in curve], "one", "circle")
    _trace(first, [(d, value, f"best of {n}") for d, value, n in reference], "three dashed", "diamond")
    if reference:
        d, value, n = reference[-1]
        first.label(d, value, f"best of {n}", dx=-4, dy=-9, style="end three halo")
    second = _over_distance("learned reward", span, around(p.proxy for p in curve), best_point(curve))
    _trace(second, [(p.root_kl, p.proxy, f"step {p.step}") for p in curve], "two", "circle")
    return first.render(), second.render()


def _over_distance(name: str, across: Span, up: Span, top: Point) -> Plot:
    """Axes of `name` over the distance from the start, with a dashed line where gold was highest."""
    plot = Plot(
        title=f"The {name} over the distance from the start", x=across, y=up, x_label="√KL from the start (√nats)",
        y_label=name, height=290,
    )  # fmt: skip
    plot.line([(top.root_kl, up[0]), (top.root_kl, up[1])], "muted dashed")
    return plot


def _trace(plot: Plot, points: Sequence[tuple[float, float, str]], style: str, shape: str) -> None:
    """A line with its points; each says what it is and its height when it is pointed at."""
    plot.line([(x, y) for x, y, _ in points], style)
    for x, y, hint in points:
        plot.dot(x, y, style.split()[0], shape, radius=3, hint=f"{hint}: {figure(y)}")


def _thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    size = math.ceil(len(points) / MOST_POINTS)
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def _running_mean(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A centred mean over an eighth of the curve."""
    half = max(1, len(points) // 16)
    windows = [points[max(0, i - half) : i + half + 1] for i in range(len(points))]
    return [(x, sum(y for _, y in w) / len(w)) for (x, _), w in zip(points, windows, strict=True)]
