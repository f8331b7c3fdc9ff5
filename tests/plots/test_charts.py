"""Charts show the values that they are given, and say what the axes are."""

import re
from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from kidney.evaluation.result import Bin, Figure
from kidney.plots.charts import (
    Curve,
    dots,
    histograms,
    intervals,
    lines,
    reliability,
    shares,
    stacked,
    unit_curves,
)
from kidney.plots.style import COLOURS, DASHES, HATCHES, MARKS, svg

AT = Figure(value=0.5, low=0.25, high=0.75)


def ticks(figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def written(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts if text.get_visible()]


def points(figure) -> list[tuple[float, ...]]:
    return [tuple(np.ravel(line.get_xdata())) for line in figure.axes[0].get_lines()]


def test_a_dot_is_drawn_for_each_value():
    figure = dots({"cyst": [3, 3, 5], "stone": [1]}, "slices of a scan")
    assert sorted(x for line in points(figure) for x in line) == [1, 3, 3, 5]
    assert ticks(figure) == ["cyst", "stone"]
    assert figure.axes[0].get_xlabel() == "slices of a scan"


def test_equal_values_stay_in_their_row_however_many():
    (line, *_) = dots({"a": [1.0] * 40, "b": [2.0]}, "x").axes[0].get_lines()
    assert np.abs(line.get_ydata()).max() < 0.5


def test_stacked_counts_are_written_and_nought_is_not():
    figure = stacked({"normal": {"enhanced": 19}, "tumor": {"enhanced": 8, "plain": 4}}, "scans")
    assert written(figure) == ["19", "8", "4"]
    assert [bar.get_width() for bar in figure.axes[0].patches] == [19, 8, 0, 4]


def test_shares_are_written():
    assert written(shares({"random": {"copy": 1.0, "majority": 0.32}}, "x")) == ["100%", "32%"]


def test_each_histogram_is_of_its_own_pairs():
    figure = histograms({"same": [0.9, 1.0], "other": [0.1, 0.2, 0.3]}, "correlation")
    heights = [sum(bar.get_height() for bar in bars) for bars in figure.axes[0].containers]
    assert heights == pytest.approx([1, 1])
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["same (2)", "other (3)"]


def test_intervals_are_drawn_and_undefined_figures_left_out():
    undefined = Figure(value=None)
    figure = intervals({"Accuracy": {"a": AT, "b": undefined}, "AUROC": {"a": AT}}, "figure")
    drawn = [line for line in points(figure) if line]
    assert drawn == [(0.25, 0.75), (0.5,)] * 2
    assert ticks(figure) == ["Accuracy", "AUROC"]


def test_an_interval_without_ends_is_a_mark():
    figure = intervals({"Accuracy": {"a": Figure(value=0.5)}}, "figure")
    assert [line for line in points(figure) if line] == [(0.5,)]


def test_a_curve_that_was_not_logged_is_no_mistake():
    figure = lines({"a": ([0, 1], [1.0, 0.5]), "b": ([], [])}, "epoch", "loss")
    assert points(figure) == [(0, 1), ()]


def test_the_dots_of_a_reliability_diagram_are_its_bins():
    bins = [
        Bin(low=0.4, high=0.5, confidence=0.45, accuracy=0.3, share=0.25),
        Bin(low=0.9, high=1.0, confidence=0.95, accuracy=0.9, share=0.75),
    ]
    drawn = reliability(bins).axes[0]
    dots_of = drawn.collections
    assert [dot.get_offsets().tolist() for dot in dots_of] == [[[0.45, 0.3]], [[0.95, 0.9]]]
    small, large = (dot.get_sizes()[0] for dot in dots_of)
    assert large == pytest.approx(3 * small)
    low, high = (bar.get_height() for bar in drawn.patches)
    assert high == pytest.approx(3 * low)


def test_unit_curves_have_their_marks_and_a_legend_of_those_with_names():
    curves = [
        Curve([0, 1], [0, 0.2], "seen", "AUROC 0.9", (1, 0.2)),
        Curve([], [], "absent"),
        Curve([0, 1], [0, 0.1]),
    ]
    figure = unit_curves(curves, "across", "up", highest=0.2, chance=True)
    drawn = figure.axes[0]
    assert points(figure) == [(0, 1), (0, 1), (1,), (), (0, 1)]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "seen: AUROC 0.9", "absent"
    ]  # fmt: skip
    assert (drawn.get_ylim(), drawn.get_xlabel(), drawn.get_title("left")) == (
        (0, 0.2), "across", "up"
    )  # fmt: skip


def test_curves_are_told_apart_without_colour():
    figure = unit_curves([Curve([0, 1], [0, 1], str(n)) for n in range(8)], "x", "y")
    pens = [(line.get_color(), line.get_linestyle()) for line in figure.axes[0].get_lines()]
    assert len(set(pens)) == 8
    assert len({dash for _, dash in pens[:4]}) == 4


def test_a_chart_of_a_page_has_words_text_and_the_colours_of_the_page():
    harmful = '"><script>$x'
    drawn = svg(dots({harmful: [1, 2]}, harmful), harmful)
    assert re.match(r'<svg class="chart" role="img" aria-label="[^"]+" viewBox="', drawn)
    assert "<script" not in drawn
    assert drawn.count("&lt;script&gt;$x") == 3
    assert "var(--c0, #2563a8)" in drawn
    # Nothing is black or white whatever the page, and nothing is loaded.
    assert not re.findall(r"#[0-9a-f]{6}", re.sub(r"var\([^)]*\)", "", drawn))
    assert not re.search(r"https?:|url\((?!#)|font-family", drawn)


def test_the_same_chart_gives_the_same_bytes():
    first, second = (svg(intervals({"a": {"b": AT}}, "x"), "alt") for _ in range(2))
    assert first == second
    assert "date" not in first.lower()


def test_colours_differ_and_so_does_what_goes_with_them():
    assert len(set(COLOURS)) == len(set(MARKS)) == len(set(DASHES)) == len(set(HATCHES)) == 4
    for one, other in combinations(map(to_rgb, COLOURS), 2):
        assert np.abs(np.subtract(one, other)).max() > 0.25
