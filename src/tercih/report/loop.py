"""The picture of the loop: the stages that a run went through, in their order, and the arrow that asks again."""

import itertools
import math
import textwrap
from collections.abc import Sequence

from markupsafe import Markup

from tercih.evaluation.run_folder import Row, number
from tercih.report.svg import element
from tercih.report.words import duration

WIDTH, HEIGHT, RADIUS, NODE = 940.0, 540.0, 184.0, 19.0


def circle(stages: Sequence[Row]) -> Markup | None:
    """The stages clockwise from the top, for a wide page; the dashed arrow is where the next round begins."""
    count = len(stages)
    if count < 2:
        return None
    parts = [element("title", "The loop: " + ", ".join(_title(stage) for stage in stages)), _arrow_head("wide")]
    step = 2 * math.pi / count
    gap = (NODE + 7) / RADIUS
    for i, stage in enumerate(stages):
        angle = i * step - math.pi / 2
        parts.append(_arc(angle + gap, angle + step - gap, "again" if i == count - 1 else "done"))
        parts.extend(_beside(stage, i, angle))
    middle = ("once round", duration(sum(number(stage, "seconds") or 0.0 for stage in stages)), "dashed: ask again")
    for line, (text, style) in enumerate(zip(middle, ("hub", "hub big", "hub"), strict=True)):
        parts.append(element("text", text, x=WIDTH / 2, y=HEIGHT / 2 - 20 + 28.0 * line, class_=style))
    return element("svg", Markup("").join(parts), class_="loop wide", viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}", role="img")


def track(stages: Sequence[Row]) -> Markup | None:
    """The same stages down a line, for a narrow page."""
    if len(stages) < 2:
        return None
    parts = [element("title", "The loop: " + ", ".join(_title(stage) for stage in stages)), _arrow_head("narrow")]
    y, centres, width = 28.0, [], 360.0
    for i, stage in enumerate(stages):
        centres.append(y)
        parts.extend(_node(i, 52.0, y))
        lines = _lines(stage, 38)
        parts.extend(_words(lines, 84.0, y + 1, ""))
        y += 44.0 + 16.0 * max(0, len(lines) - 1)
    for start, end in itertools.pairwise(centres):
        parts.append(_path(f"M52,{start + 20:.1f}L52,{end - 23:.1f}", "done", "narrow"))
    back = f"M33,{centres[-1]:.1f}C4,{centres[-1]:.1f} 4,{centres[0]:.1f} 29,{centres[0]:.1f}"
    parts.append(_path(back, "again", "narrow"))
    return element("svg", Markup("").join(parts), class_="loop narrow", viewBox=f"0 0 {width:g} {y:g}", role="img")


def _beside(stage: Row, index: int, angle: float) -> list[Markup]:
    """A numbered node on the circle with its words outside of it."""
    x, y = WIDTH / 2 + RADIUS * math.cos(angle), HEIGHT / 2 + RADIUS * math.sin(angle)
    side = math.cos(angle)
    lines = _lines(stage, 34)
    if abs(side) < 0.2:  # at the top and the bottom the words stand above or below
        above = math.sin(angle) < 0
        start = y - NODE - 10 - 16.0 * (len(lines) - 1) if above else y + NODE + 20
        return [*_node(index, x, y), *_words(lines, x, start, "middle")]
    reach = math.copysign(NODE + 11, side)
    start = y + 5 - 8.0 * (len(lines) - 1) + 18 * math.sin(angle)
    return [*_node(index, x, y), *_words(lines, x + reach, start, "end" if side < 0 else "")]


def _node(index: int, x: float, y: float) -> list[Markup]:
    return [
        element("circle", cx=x, cy=y, r=NODE, class_="node"),
        element("text", str(index + 1), x=x, y=y + 5.5, class_="numeral"),
    ]


def _lines(stage: Row, width: int) -> list[str]:
    """The title, then what happened there, in lines of at most `width` letters."""
    seconds = number(stage, "seconds")
    title = _title(stage) + (f" · {duration(seconds)}" if seconds else "")
    return [title, *textwrap.wrap(str(stage.get("detail") or ""), width)[:3]]


def _words(lines: Sequence[str], x: float, y: float, style: str) -> list[Markup]:
    styles = ["stage", *["detail"] * (len(lines) - 1)]
    return [
        element("text", line, x=x, y=y + 16.0 * i, class_=f"{kind} {style}")
        for i, (line, kind) in enumerate(zip(lines, styles, strict=True))
    ]


def _title(stage: Row) -> str:
    return str(stage.get("title") or stage.get("name") or "?")


def _arc(start: float, end: float, style: str) -> Markup:
    points = [(WIDTH / 2 + RADIUS * math.cos(a), HEIGHT / 2 + RADIUS * math.sin(a)) for a in (start, end)]
    (ax, ay), (bx, by) = points
    large = int(end - start > math.pi)
    return _path(f"M{ax:.1f},{ay:.1f}A{RADIUS:g},{RADIUS:g} 0 {large} 1 {bx:.1f},{by:.1f}", style, "wide")


def _path(d: str, style: str, picture: str) -> Markup:
    return element("path", d=d, class_=f"arrow {style}", marker_end=f"url(#head-{picture})")


def _arrow_head(picture: str) -> Markup:
    tip = element("path", d="M0,0L8,4L0,8Z", class_="head")
    marker = element(
        "marker",
        tip,
        id=f"head-{picture}",
        viewBox="0 0 8 8",
        refX="6",
        refY="4",
        markerWidth="6",
        markerHeight="6",
        orient="auto",
    )
    return element("defs", marker)
