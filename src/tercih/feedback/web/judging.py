"""The lead's page on quality: whom to trust, which way answers lean, what was saved, and the run that learns from them.

Numbers come from `feedback/overview`; here they become pictures: an interval is a bar with a dot, a curve a line.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from starlette.responses import Response

from tercih.feedback import overview
from tercih.feedback.overview import Figure, Point, Standing
from tercih.feedback.overview.learned import TOLD
from tercih.feedback.overview.without import KIND
from tercih.feedback.tables import fit
from tercih.feedback.web.leading import settings_of
from tercih.feedback.web.visits import Visit

WIDTH, HEIGHT = 160, 14  # of a bar, in the units of its SVG
CURVE_WIDTH, CURVE_HEIGHT, EDGE = 480, 180, 30
SCALES = {"lean": (-1.0, 1.0), "anchoring": (-1.0, 1.0), "agreement": (-0.2, 1.0), "entropy": (0.0, math.log(3)),
          "split half": (-1.0, 1.0), "retest": (-1.0, 1.0), "exam": (-1.0, 1.0), "shift": (-0.5, 0.5),
          "source": (-0.2, 0.2), "gap": (-0.5, 0.5), "worst task": (-0.5, 0.5)}  # fmt: skip
HALVES = ("left", "reliability", "overall")  # of which ½ says nothing


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """Where the ends of an interval and its value lie on a bar of WIDTH; `zero` is where the scale's 0 or ½ is."""

    low: float
    high: float
    dot: float
    zero: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A figure, ready to be shown."""

    figure: Figure
    text: str
    bar: Bar | None


def quality(visit: Visit) -> Response:
    settings, database = settings_of(visit), visit.site.database
    look, fits = overview.look(database, settings), _fits(visit, settings.id)
    learned, report = overview.learned(fits), look.report
    figures = [*(report.biases if report else ()), *learned.figures]
    return visit.page(
        "lead/quality.html",
        project=settings,
        progress=overview.progress(database, settings.id),
        look=look,
        cost=report.cost if report else None,
        raters=[
            (row, {name: shown(getattr(row, name), name) for name in ("reliability", "lean", "golds", "flips")})
            for row in (report.raters if report else ())
        ],
        biases=[shown(figure, figure.name) for figure in figures],
        agents=[agent(each) for each in (report.agents if report else ())],
        tasks=sorted({task for each in (report.agents if report else ()) for task in each.tasks}),
        learned=learned,
        left_out=[(each, shown(each.change, "source")) for each in (*learned.raters, *learned.sources)],
        savings=fits["savings"]["result"] if "savings" in fits else None,
        curve=drawn(learned.curve) if len(learned.curve) > 1 else None,
        width=WIDTH,
        height=HEIGHT,
    )


def agent(each: Standing) -> dict[str, Any]:
    """One agent's row: over all tasks, on each, and how far its worst one lies below."""
    return {
        "name": each.agent,
        "overall": shown(each.overall, "overall"),
        "tasks": {task: shown(figure, "overall") for task, figure in each.tasks.items()},
        "worst": each.worst,
        "gap": None if each.gap is None else shown(each.gap, "gap"),
    }


def shown(figure: Figure, name: str) -> Row:
    """The number in words, and where it lies on its scale: from 0 to 1 where nothing else is said."""
    if figure.missing:
        return Row(figure=figure, text="–", bar=None)
    scale = 100 if figure.percent else 1
    sign, places = (" %", 1) if figure.percent else ("", 2)
    text = f"{scale * figure.value:.{places}f}{sign}"
    if not math.isfinite(figure.low):
        return Row(figure=figure, text=f"{text} (n = {figure.n})", bar=None)
    text += f" [{scale * figure.low:.{places}f}, {scale * figure.high:.{places}f}] (n = {figure.n})"
    least, most = SCALES.get(name, (0.0, max(1.0, 1.2 * figure.high)))

    def place(value: float) -> float:
        return round(WIDTH * min(max((value - least) / (most - least), 0.0), 1.0), 1)

    zero = place(0.5 if name in HALVES else 0.0)
    bar = Bar(low=place(figure.low), high=place(figure.high), dot=place(figure.value), zero=zero)
    return Row(figure=figure, text=text, bar=bar)


def drawn(curve: Sequence[Point]) -> dict[str, Any]:
    """Accuracy against answers as SVG coordinates: the line, and the band of its intervals."""
    most = max(each.answers for each in curve)

    def x(answers: float) -> float:
        return round(EDGE + (CURVE_WIDTH - 2 * EDGE) * answers / most, 1)

    def y(share: float) -> float:
        return round(CURVE_HEIGHT - EDGE - (CURVE_HEIGHT - 2 * EDGE) * (min(max(share, 0.4), 1.0) - 0.4) / 0.6, 1)

    line = " ".join(f"{x(each.answers)},{y(each.value)}" for each in curve)
    band = [f"{x(each.answers)},{y(each.low)}" for each in curve]
    band += [f"{x(each.answers)},{y(each.high)}" for each in curve[::-1]]
    return {
        "line": line, "band": " ".join(band), "half": y(0.5), "one": y(1.0), "most": most, "left": x(0),
        "right": x(most), "width": CURVE_WIDTH, "height": CURVE_HEIGHT,
    }  # fmt: skip


def _fits(visit: Visit, project: str) -> dict[str, dict[str, Any]]:
    kinds = (TOLD, KIND, "savings")
    query = sa.select(fit).where(fit.c.project == project, fit.c.kind.in_(kinds))
    with visit.site.database.transaction() as connection:
        return {row["kind"]: dict(row) for row in connection.execute(query).mappings()}
