import math

import pytest

from tercih.evaluation.intervals import Estimate
from tercih.report.svg import Plot, around, element, ticks
from tercih.report.words import duration, figure, flatten, moment, share, share_interval


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.11234, "0.112"), (-0.04, "−0.040"), (12.345, "12.3"), (308.0, "308"), (1843.2, "1,843"),
        (0.00123, "0.00123"),        (1.5e-7, "1.50e−07"), (0.0, "0"), (None, "—"), (math.nan, "—"), (math.inf, "—"),
    ],
)  # fmt: skip
def test_figures(value: float | None, text: str) -> None:
    assert figure(value) == text


def test_shares_do_not_round_to_certainty() -> None:
    assert (share(0.713), share(0.997), share(0.004), share(1.0)) == ("71%", "99.7%", "0.4%", "100%")
    assert share_interval(Estimate(0.7, 0.66, 0.75, 400)) == "66–75%"
    assert share_interval(Estimate(0.7, math.nan, math.nan, 0)) == ""


def test_durations_and_moments() -> None:
    assert [duration(s) for s in (0.31, 4.0, 48.2, 720, 12000)] == ["0.31 s", "4 s", "48 s", "12 min", "3 h 20 min"]
    assert moment("2026-11-20T14:02:11.5+00:00") == "2026-11-20 14:02 UTC"
    assert (moment(0), moment("yesterday"), moment(None)) == ("1970-01-01 00:00 UTC", "yesterday", "")


def test_a_nested_config_becomes_dotted_names() -> None:
    assert dict(flatten({"ppo": {"clip": 0.2, "extra": {}}, "seed": 3})) == {
        "ppo.clip": "0.2",
        "ppo.extra": "{}",
        "seed": "3",
    }


@pytest.mark.parametrize("span", [(0.0, 1.0), (-3.2, 17.0), (1e-5, 3e-4), (0.0, 399.0), (0.09, 0.19)])
def test_ticks_are_round_and_inside(span: tuple[float, float]) -> None:
    values = ticks(span)
    assert 3 <= len(values) <= 8
    assert all(span[0] - 1e-9 <= value <= span[1] + 1e-9 for value in values)


def test_a_span_holds_its_values_even_if_they_are_equal() -> None:
    low, high = around([2.0, 2.0])
    assert low < 2.0 < high
    assert around([0.0]) == (-1.0, 1.0)


def test_a_plot_puts_its_corners_where_they_belong() -> None:
    plot = Plot(title="t", x=(0, 10), y=(0, 1), width=100, height=80, left=10, right=10, top=10, bottom=20)
    assert plot.at(0, 0) == (10, 60)
    assert plot.at(10, 1) == (90, 10)


def test_elements_escape_what_they_are_given() -> None:
    assert element("text", "<b>", class_='a"') == '<text class="a&#34;">&lt;b&gt;</text>'
