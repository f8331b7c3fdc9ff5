"""Charts show the values that they are given, and say what the axes are."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from kidney.plots.charts import dots, histograms, intervals, lines, reliability, shares, stacked
from kidney.plots.style import COLOURS, DASHES, HATCHES, MARKS

AT = {"value": 0.5, "low": 0.25, "high": 0.75}


def ticks(figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def told(figure) -> list[str]:
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
    assert told(figure) == ["19", "8", "4"]
    assert [bar.get_width() for bar in figure.axes[0].patches] == [19, 8, 0, 4]


def test_shares_are_written():
    assert told(shares({"random": {"copy": 1.0, "majority": 0.32}}, "x")) == ["100%", "32%"]


def test_each_histogram_is_of_its_own_pairs():
    figure = histograms({"same": [0.9, 1.0], "other": [0.1, 0.2, 0.3]}, "correlation")
    heights = [sum(bar.get_height() for bar in bars) for bars in figure.axes[0].containers]
    assert heights == pytest.approx([1, 1])
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["same (2)", "other (3)"]


def test_intervals_are_drawn_and_undefined_figures_left_out():
    undefined = {"value": None, "low": None, "high": None}
    figure = intervals({"Accuracy": {"a": AT, "b": undefined}, "AUROC": {"a": AT}}, "figure")
    drawn = [line for line in points(figure) if line]
    assert drawn == [(0.25, 0.75), (0.5,)] * 2
    assert ticks(figure) == ["Accuracy", "AUROC"]


def test_an_interval_without_ends_is_a_mark():
    figure = intervals({"Accuracy": {"a": AT | {"low": None, "high": None}}}, "figure")
    assert [line for line in points(figure) if line] == [(0.5,)]


def test_a_curve_that_was_not_logged_is_no_mistake():
    figure = lines({"a": ([0, 1], [1.0, 0.5]), "b": ([], [])}, "epoch", "loss")
    assert points(figure) == [(0, 1), ()]


def test_the_dots_of_a_reliability_diagram_are_its_bins():
    bins = [
        {"low": 0.4, "high": 0.5, "confidence": 0.45, "accuracy": 0.3, "share": 0.25},
        {"low": 0.9, "high": 1.0, "confidence": 0.95, "accuracy": 0.9, "share": 0.75},
    ]
    dots_of = reliability(bins).axes[0].collections
    assert [dot.get_offsets().tolist() for dot in dots_of] == [[[0.45, 0.3]], [[0.95, 0.9]]]
    small, large = (dot.get_sizes()[0] for dot in dots_of)
    assert large == pytest.approx(3 * small)


def test_colours_differ_and_so_does_what_goes_with_them():
    assert len(set(COLOURS)) == len(set(MARKS)) == len(set(DASHES)) == len(set(HATCHES)) == 4
    for one, other in combinations(map(to_rgb, COLOURS), 2):
        assert np.abs(np.subtract(one, other)).max() > 0.25
