"""A small plot: linear axes, marks, labels, as inline SVG whose colours the page's style sheet decides.

Lengths are in SVG user units, which are CSS pixels as long as the page shows a plot at its own size; colours come from
classes (`one`, `two`, `three`, `muted`), so that the same picture serves light, dark and paper.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

Span = tuple[float, float]
Pairs = Sequence[tuple[float, float]]


def element(name: str, content: object = "", **attributes: object) -> Markup:
    """One SVG element; every attribute and plain text is escaped, `class_` becomes class and `_` becomes `-`."""
    pairs = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    text = Markup("").join(Markup(' {}="{}"').format(key, _short(value)) for key, value in pairs)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), text, content)


def ticks(span: Span, about: int = 5) -> list[float]:
    """Round numbers within `span`, as near to `about` of them as its ends allow."""
    low, high = span
    unit = 10.0 ** math.floor(math.log10((high - low) / about))
    choices = []
    for step in (unit * m for m in (0.5, 1, 2, 2.5, 5, 10)):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        choices.append([i * step for i in range(first, last + 1)])
    return min(choices, key=lambda values: abs(len(values) - about))


def around(values: Iterable[float], margin: float = 0.06) -> Span:
    """A span that holds all `values` with some air."""
    numbers = list(values)
    low, high = min(numbers), max(numbers)
    air = (high - low) * margin or abs(high) * 0.1 or 1.0
    return low - air, high + air


@dataclass(kw_only=True)
class Plot:
    """Axes from `x` and `y` (each low, high) with labels that name the unit.

    `percent` names the axes ("x", "xy") that hold shares. Marks are added from the lowest layer up, then rendered.
    """

    title: str
    x: Span
    y: Span
    x_label: str = ""
    y_label: str = ""
    percent: str = ""
    width: float = 420
    height: float = 280
    marks: list[Markup] = field(default_factory=list)
    left: float = 52
    right: float = 14
    top: float = 14
    bottom: float = 42

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where the point (x, y) of the data lies in the picture."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return (
            self.left + across * (self.width - self.left - self.right),
            self.height - self.bottom - up * (self.height - self.top - self.bottom),
        )

    def line(self, points: Pairs, style: str) -> None:
        """A line through `points`."""
        if points:
            self.marks.append(element("path", d="M" + "L".join(self._path(points)), class_=f"line {style}"))

    def band(self, lower: Pairs, upper: Pairs, style: str) -> None:
        """The area between two lines."""
        self.marks.append(
            element("path", d="M" + "L".join(self._path([*lower, *reversed(upper)])) + "Z", class_=f"band {style}")
        )

    def dot(self, x: float, y: float, style: str, shape: str = "circle", radius: float = 4, hint: str = "") -> None:
        """A point, as a "circle" or a "diamond", so that colour is not all that tells two sorts apart."""
        cx, cy = self.at(x, y)
        title = element("title", hint) if hint else ""
        if shape == "circle":
            self.marks.append(element("circle", title, cx=cx, cy=cy, r=radius, class_=f"dot {style}"))
        else:
            r = radius * 1.3
            path = f"M{cx:.1f},{cy - r:.1f}l{r},{r}l{-r},{r}l{-r},{-r}Z"
            self.marks.append(element("path", title, d=path, class_=f"dot {style}"))

    def label(self, x: float, y: float, text: str, dx: float = 0, dy: float = 0, style: str = "") -> None:
        """Text near the point (x, y)."""
        px, py = self.at(x, y)
        self.marks.append(element("text", text, x=px + dx, y=py + dy, class_=f"label {style}"))

    def render(self) -> Markup:
        """The picture."""
        content = Markup("").join([element("title", self.title), *self._axes(), *self.marks])
        box = f"0 0 {self.width:g} {self.height:g}"
        return element("svg", content, class_="plot", viewBox=box, role="img", style=f"max-width:{self.width:g}px")

    def _axes(self) -> Iterable[Markup]:
        floor, end = self.height - self.bottom, self.width - self.right
        for value in ticks(self.y, max(3, int((floor - self.top) / 45))):
            y = self.at(self.x[0], value)[1]
            yield element("line", x1=self.left, x2=end, y1=y, y2=y, class_="grid")
            yield element("text", self._tick(value, self.y, "y"), x=self.left - 7, y=y + 4, class_="tick end")
        for value in ticks(self.x, max(3, int((end - self.left) / 78))):
            x = self.at(value, self.y[0])[0]
            yield element("line", x1=x, x2=x, y1=floor, y2=floor + 4, class_="axis")
            yield element("text", self._tick(value, self.x, "x"), x=x, y=floor + 17, class_="tick middle")
        yield element("line", x1=self.left, x2=end, y1=floor, y2=floor, class_="axis")
        if self.x_label:
            yield element("text", self.x_label, x=(self.left + end) / 2, y=self.height - 6, class_="name middle")
        if self.y_label:
            turn = f"translate(12 {(self.top + floor) / 2:.1f}) rotate(-90)"
            yield element("text", self.y_label, transform=turn, class_="name middle")

    def _path(self, points: Pairs) -> list[str]:
        return [f"{px:.1f},{py:.1f}" for px, py in (self.at(x, y) for x, y in points)]

    def _tick(self, value: float, span: Span, axis: str) -> str:
        if axis in self.percent:
            return f"{value:.0%}"
        size = max(abs(span[0]), abs(span[1]))
        if value and (size >= 1e5 or size < 1e-2):
            base, exponent = f"{value:.1e}".split("e")
            return f"{base.removesuffix('.0')}e{int(exponent)}".replace("-", "−")
        digits = max(0, 2 - math.floor(math.log10(span[1] - span[0])))
        text = f"{value:,.{digits}f}"
        return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")


def _short(value: object) -> object:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value
