"""The pictures of a control run. Each gives inline SVG, or None without data."""

from collections.abc import Sequence

from markupsafe import Markup

from tercih.evaluation.intervals import Estimate
from tercih.evaluation.parting import Foreseen, Milestone, foreseen_share
from tercih.evaluation.run_folder import Row, number
from tercih.report.svg import Plot, around
from tercih.report.words import figure, interval, share, share_interval

PARTS = 6  # of the training, in which answers are counted together
STYLES = (("one", "circle"), ("two", "diamond"), ("three", "circle"), ("muted", "diamond"))


def returns(milestones: Sequence[Milestone]) -> tuple[Markup, Markup | None] | None:
    """The true return along the training, and the predicted one of the same episodes."""
    if len(milestones) < 2:
        return None
    true = _along(milestones, "true", "the environment’s own return", "one")
    known = [each for each in milestones if each.predicted]
    return true, _along(known, "predicted", "predicted return", "two") if len(known) > 1 else None


def _along(milestones: Sequence[Milestone], which: str, label: str, style: str) -> Markup:
    points = [(each.steps, each.estimate(which)) for each in milestones]
    plot = Plot(
        title=f"{label} along the training", x=(0, points[-1][0] or 1),
        y=around(edge for _, one in points for edge in (one.low, one.high)), x_label="steps of the environment",
        y_label=label, height=290, left=62,
    )  # fmt: skip
    plot.band([(x, one.low) for x, one in points], [(x, one.high) for x, one in points], style)
    plot.line([(x, one.value) for x, one in points], style)
    for x, one in points:
        hint = f"{x:,} steps: {figure(one.value)} ({interval(one.low, one.high)})"
        plot.dot(x, one.value, style, "circle" if style == "one" else "diamond", radius=3, hint=hint)
    return plot.render()


def accuracy(rows: Sequence[Row], foreseen: Sequence[Foreseen]) -> Markup | None:
    """Held-out accuracy at every rollout, and the share of new answers that were foreseen, by parts of the training."""
    last = max(1, len(rows) - 1)
    held = [(at / last, y) for at, row in enumerate(rows) if (y := number(row, "reward/heldout_accuracy")) is not None]
    if len(held) < 2:
        return None
    plot = Plot(
        title="Accuracy of the learned reward along the training", x=(0, 1), y=(0, 1), percent="xy", width=480,
        height=320, x_label="share of the training", y_label="share of answers",
    )  # fmt: skip
    plot.line([(0, 0.5), (1, 0.5)], "muted dashed")
    plot.line(held, "one")
    for part in range(PARTS):
        within = [row for row in foreseen if min(int(row.share * PARTS), PARTS - 1) == part]
        one = foreseen_share(within)
        if one:
            x = (part + 0.5) / PARTS
            plot.line([(x, one.low), (x, one.high)], "error two")
            plot.dot(
                x, one.value, "two", "diamond", hint=f"{share(one.value)} ({share_interval(one)}) of {one.n} answers"
            )
    return plot.render()


def scatter(points: Sequence[Row], what: str) -> Markup | None:
    """Predicted against true reward; early ones are fainter."""
    known = [
        (true, predicted, number(row, "milestone") or 0.0)
        for row in points
        if (true := number(row, "true")) is not None and (predicted := number(row, "predicted")) is not None
    ]
    if len(known) < 3:
        return None
    plot = Plot(
        title=f"Predicted against true reward of {what}",
        x=around(x for x, *_ in known), y=around(y for _, y, _ in known),
        x_label=f"the environment’s own reward of {what}", y_label="predicted reward", height=320, left=58,
    )  # fmt: skip
    for x, y, done in known:
        plot.dot(x, y, "one" if done >= 0.5 else "three", "circle" if done >= 0.5 else "diamond", radius=2.6)
    return plot.render()


def labels(rows: Sequence[Row], feedback: Row) -> Markup | None:
    """Questions that the schedule wanted, those that were asked, and the answers that had come, along the training."""
    last = max(1, len(rows) - 1)
    answered = [(at / last, y) for at, row in enumerate(rows) if (y := number(row, "reward/labels")) is not None]
    due, asked = (_points(feedback.get(key)) for key in ("due_by", "asked_by"))
    if len(asked) < 2 and len(answered) < 2:
        return None
    most = max([y for _, y in [*answered, *asked, *due]])
    plot = Plot(
        title="Questions and answers along the training", x=(0, 1), y=(0, 1.08 * most), percent="x", width=480,
        height=300, x_label="share of the training", y_label="labels",
    )  # fmt: skip
    plot.line(due, "muted dashed")
    plot.line(_steps(asked), "one")
    plot.line(answered, "two")
    return plot.render()


def efficiency(labels_K: Sequence[float], curves: dict[str, list[Estimate]], label: str) -> Markup | None:
    """Quality against labels, a curve a rule, with 95 % intervals over repetitions."""
    if len(labels_K) < 2 or not curves:
        return None
    every = [edge for curve in curves.values() for one in curve for edge in (one.low, one.high)]
    plot = Plot(
        title=f"{label} against labels", x=(0, 1.02 * labels_K[-1]), y=around(every), x_label="labels", y_label=label,
        width=480, height=320,
    )  # fmt: skip
    for curve, (style, _) in zip(curves.values(), STYLES, strict=False):
        low, high = (
            [(x, getattr(one, edge)) for x, one in zip(labels_K, curve, strict=True)] for edge in ("low", "high")
        )
        plot.band(low, high, style)
    for (name, curve), (style, shape) in zip(curves.items(), STYLES, strict=False):
        plot.line([(x, one.value) for x, one in zip(labels_K, curve, strict=True)], style)
        for x, one in zip(labels_K, curve, strict=True):
            plot.dot(x, one.value, style, shape, radius=3, hint=f"{name}, {x:g} labels: {one}")
    return plot.render()


def _points(rows: object) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in rows] if isinstance(rows, list) else []


def _steps(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A number that stays until the next point."""
    found, height = [], 0.0
    for x, y in points:
        found += [(x, height), (x, y)]
        height = y
    return [*found, (1.0, height)] if found else []
