"""Charts put values where they belong, show names as text, and say what they show."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kidney.evaluation.report.charts import Dot, Line, interval_chart, line_chart, reliability_chart

LEFT, RIGHT, BOTTOM, TOP = 40, 340, 326, 26  # of the square, in units of the picture
SHARE = st.floats(0, 1)


def chart(*lines: Line, **more) -> str:
    return line_chart("told", "across", "up", lines, **more)


def points(svg: str) -> list[list[tuple[float, float]]]:
    found = re.findall(r'<polyline[^>]*points="([^"]*)"', svg)
    return [[tuple(map(float, p.split(","))) for p in line.split()] for line in found]


@given(st.lists(st.tuples(SHARE, SHARE), min_size=1, max_size=5), st.sampled_from([0.1, 0.5, 1.0]))
def test_a_line_runs_through_its_values(values, highest):
    x, y = [a for a, _ in values], [b * highest for _, b in values]
    (line,) = points(chart(Line(x, y), highest=highest))
    for (across, up), (a, b) in zip(line, values, strict=True):
        assert across == pytest.approx(LEFT + a * (RIGHT - LEFT), abs=0.06)
        assert up == pytest.approx(BOTTOM - b * (BOTTOM - TOP), abs=0.06)


def test_dots_lie_on_the_scale_of_the_lines():
    svg = chart(Line([0, 1], [0, 0.2], "a"), highest=0.2, dots=[Dot(0, 1, 0.2)])
    assert 'cx="340.0" cy="26.0"' in svg


def test_the_legend_names_every_named_line_also_an_empty_one():
    svg = chart(Line([0, 1], [0, 1], "seen", "AUROC 0.9"), Line([], [], "absent"), Line([0], [0]))
    assert len(points(svg)) == 2
    names = re.findall(r'<text x="74"[^>]*>([^<]*)<tspan[^>]*>([^<]*)', svg)
    assert names == [("seen", "AUROC 0.9"), ("absent", "")]


def test_lines_are_told_apart_without_colour():
    svg = chart(*(Line([0, 1], [0, 1], str(n)) for n in range(8)))
    pens = re.findall(r'<polyline class="curve (c\d)" stroke-dasharray="([^"]*)"', svg)
    assert len(set(pens)) == 8
    assert len({dash for _, dash in pens[:4]}) == 4


def test_charts_are_pictures_with_words_and_names_are_text():
    harmful = '"><script>'
    interval = {"value": 0.5, "low": 0.4, "high": 0.6}
    for svg in (
        line_chart(harmful, harmful, harmful, [Line([0], [0], harmful, harmful)]),
        interval_chart([(harmful, interval, None)]),
    ):
        assert re.search(r'role="img" aria-label="[^"]+"', svg)
        assert "<script" not in svg
        assert "&lt;script" in svg


def test_a_bin_lies_at_what_was_told_and_what_was_right_and_empty_ones_are_left_out():
    full = {"low": 0.8, "high": 1.0, "confidence": 0.9, "accuracy": 0.6, "share": 0.75}
    small = {"low": 0.4, "high": 0.6, "confidence": 0.5, "accuracy": 0.5, "share": 0.25}
    empty = {"low": 0.0, "high": 0.4, "confidence": None, "accuracy": None, "share": 0.0}
    svg = reliability_chart([empty, small, full])
    marks = re.findall(r'class="mark c0" cx="([\d.]+)" cy="([\d.]+)" r="([\d.]+)"', svg)
    assert [(x, y) for x, y, _ in marks] == [("190.0", "176.0"), ("310.0", "146.0")]
    areas = [float(radius) ** 2 for *_, radius in marks]
    assert areas[1] / areas[0] == pytest.approx(3, rel=0.05)
    bars = [float(height) for height in re.findall(r'class="bar".*?height="([\d.]+)"', svg)]
    assert bars[1] / bars[0] == pytest.approx(3)
    assert "told 0.90, right 0.60" in svg


def test_an_interval_runs_from_its_low_to_its_high_end_and_the_other_is_hollow():
    figure = {"value": 0.5, "low": 0.25, "high": 0.75}
    other = {"value": 1.0, "low": 1.0, "high": 1.0}
    nothing = {"value": None, "low": None, "high": None}
    svg = interval_chart([("accuracy", figure, other), ("recall", nothing, nothing)])
    spans = re.findall(r'class="span (.*?)" d="M([\d.]+) \d+H([\d.]+)"', svg)
    assert spans == [("other c1", "344.0", "344.0"), ("c0", "92.0", "260.0")]
    assert re.findall(r'class="mark (.*?)" cx="([\d.]+)"', svg) == [
        ("other c1", "344.0"), ("c0", "176.0"),
    ]  # fmt: skip
