"""Charts of counts, figures and curves. Each function takes plain values and returns a figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator, PercentFormatter

from kidney.plots.style import (
    DASHES,
    HATCHES,
    INK,
    LINE,
    MARKS,
    NARROW,
    PAPER,
    SOFT,
    WIDE,
    axes,
    colour_of,
)
from kidney.reporting.labels import Estimate

_ABOVE: Any = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}  # a legend


@dataclass(frozen=True)
class Curve:
    """A curve of `unit_curves`."""

    x: Sequence[float]  # 0 to 1
    y: Sequence[float]  # as many values
    name: str = ""
    note: str = ""  # follows the name
    mark: tuple[float, float] | None = None  # a point to point out, x and y


def dots(groups: Mapping[str, Sequence[float]], across: str) -> Figure:
    """Draw a row of dots a group, one a value; equal values lie above each other."""
    figure, drawn = axes(WIDE, 0.7 + 0.3 * len(groups))
    for row, values in enumerate(groups.values()):
        found, counts = np.unique(np.asarray(values, float), return_counts=True)
        most = int(counts.max(initial=1))
        step = 0.7 / max(most, 8)
        heights = np.concatenate([np.arange(count) for count in counts] or [np.zeros(0)])
        drawn.plot(
            np.repeat(found, counts), row + step * ((most - 1) / 2 - heights), MARKS[row % 4],
            color=colour_of(row), ms=4.5, alpha=0.7,
        )  # fmt: skip
    drawn.set_yticks(range(len(groups)), list(groups))
    drawn.set_ylim(len(groups) - 0.5, -0.5)
    drawn.set_xlabel(across)
    drawn.grid(visible=False, axis="y")
    return figure


def stacked(counts: Mapping[str, Mapping[str, int]], across: str) -> Figure:
    """Draw a bar a group, cut into its categories, with the counts written in."""
    figure, drawn = axes(WIDE, 1.1 + 0.42 * len(counts))
    categories = list(dict.fromkeys(name for row in counts.values() for name in row))
    starts = np.zeros(len(counts))
    for number, category in enumerate(categories):
        widths = np.array([row.get(category, 0) for row in counts.values()], float)
        bars = drawn.barh(
            range(len(counts)), widths, left=starts, height=0.7, label=category,
            color=colour_of(number), hatch=HATCHES[number % 4], edgecolor="white",
        )  # fmt: skip
        written = [f"{width:g}" if width else "" for width in widths]
        drawn.bar_label(
            bars, written, label_type="center", fontweight="bold", color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.2, "alpha": 0.85},
        )  # fmt: skip
        starts += widths
    for label in drawn.texts:  # an empty one would leave its box
        label.set_visible(bool(label.get_text()))
    drawn.set_yticks(range(len(counts)), list(counts))
    drawn.invert_yaxis()
    drawn.set_xlabel(across)
    drawn.grid(visible=False, axis="y")
    drawn.legend(ncols=len(categories), **_ABOVE)
    return figure


def shares(groups: Mapping[str, Mapping[str, float]], across: str) -> Figure:
    """Draw shares, 0 to 1, as bars: a block a group, a bar each name in it."""
    names = list(dict.fromkeys(name for row in groups.values() for name in row))
    high = 0.8 / len(names)
    figure, drawn = axes(WIDE, 0.7 + 0.2 * len(names) + 0.27 * len(names) * len(groups))
    for number, name in enumerate(names):
        places = [row + high * (number - (len(names) - 1) / 2) for row in range(len(groups))]
        values = [row.get(name, 0.0) for row in groups.values()]
        bars = drawn.barh(
            places, values, height=high * 0.9, label=name, color=colour_of(number),
            hatch=HATCHES[number % 4], edgecolor="white",
        )  # fmt: skip
        drawn.bar_label(bars, [f"{value:.0%}" for value in values], padding=3)
    drawn.set_yticks(range(len(groups)), list(groups))
    drawn.invert_yaxis()
    drawn.set_xlim(0, 1.08)
    drawn.xaxis.set_major_locator(MultipleLocator(0.25))
    drawn.xaxis.set_major_formatter(PercentFormatter(1, 0))
    drawn.set_xlabel(across)
    drawn.grid(visible=False, axis="y")
    drawn.legend(**_ABOVE)
    return figure


def histograms(values: Mapping[str, Sequence[float]], across: str) -> Figure:
    """Draw how often values occur, each name as a share of its own."""
    figure, drawn = axes(WIDE, 2.6)
    every = np.concatenate([np.asarray(one, float) for one in values.values()])
    bins = np.linspace(every.min(), every.max(), 41).tolist()
    for number, (name, one) in enumerate(values.items()):
        weights = np.full(len(one), 1 / max(len(one), 1))
        drawn.hist(
            one, bins, weights=weights, label=f"{name} ({len(one):,})", color=colour_of(number),
            alpha=0.65, hatch=HATCHES[number % 4], edgecolor="white",
        )  # fmt: skip
    drawn.yaxis.set_major_formatter(PercentFormatter(1, 0))
    drawn.set_xlabel(across)
    drawn.set_ylabel("share of the pairs")
    drawn.legend(loc="upper left")
    return figure


def intervals(
    rows: Mapping[str, Mapping[str, Estimate | None]], across: str, width: float = WIDE
) -> Figure:
    """Draw figures between 0 and 1 as marks on their 95 % intervals.

    Args:
        rows: what is measured -> who -> figure; undefined figures are left out.
    """
    who = list(dict.fromkeys(name for row in rows.values() for name in row))
    figure, drawn = axes(width, 0.9 + (0.22 + 0.13 * len(who)) * len(rows))
    step = 0.6 / max(len(who), 2)
    for number, name in enumerate(who):
        colour, mark = colour_of(number), MARKS[number % 4]
        for position, row in enumerate(rows.values()):
            shown = row.get(name)
            if shown is None or shown.value is None:
                continue
            y = position + step * (number - (len(who) - 1) / 2)
            if shown.low is not None and shown.high is not None:
                drawn.plot([shown.low, shown.high], [y, y], lw=2.2, color=colour)
            drawn.plot([shown.value], [y], mark, color=colour, ms=6.5, mec=PAPER)
        drawn.plot([], [], f"{mark}-", lw=2.2, ms=6.5, mec=PAPER, label=name, color=colour)
    drawn.set_yticks(range(len(rows)), list(rows))
    drawn.set_ylim(len(rows) - 0.5, -0.5)
    drawn.set_xlim(-0.02, 1.02)
    drawn.set_xlabel(across)
    drawn.legend(**_ABOVE)
    return figure


def lines(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], across: str, up: str
) -> Figure:
    """Draw curves in one pair of axes; few points are marked."""
    figure, drawn = axes(WIDE, 2.9)
    for number, (name, (x, y)) in enumerate(curves.items()):
        turn = (number + number // 4) % 4
        drawn.plot(
            x, y, DASHES[turn], label=name, lw=1.8, ms=4, color=colour_of(number),
            marker=MARKS[turn] if len(x) < 15 else None,
        )  # fmt: skip
    drawn.set_xlabel(across)
    drawn.set_ylabel(up)
    if len(curves) > 1:
        drawn.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    return figure


def unit_curves(
    curves: Sequence[Curve], across: str, up: str, *, highest: float = 1.0, chance: bool = False
) -> Figure:
    """Draw curves over a square, with a legend below.

    Args:
        curves: one without points is in the legend only.
    """
    named = sum(bool(curve.name) for curve in curves)
    figure, drawn = _unit_axes(across, up, highest, chance, named)
    for number, curve in enumerate(curves):
        colour, dashes = colour_of(number), DASHES[(number + number // 4) % 4]
        drawn.plot(
            curve.x, curve.y, dashes, lw=1.8, color=colour, clip_on=False, zorder=3,
            label=": ".join(filter(None, (curve.name, curve.note))) or None,
        )  # fmt: skip
        if curve.mark:
            x, y = curve.mark
            drawn.plot(
                [x], [y], "o", ms=8, color=colour, mec=PAPER, mew=1.3, clip_on=False, zorder=4
            )
    if named:
        figure.legend(loc="outside lower left", handlelength=3)
    return figure


def reliability(bins: Sequence[Any]) -> Figure:
    """Draw the share that is right over the predicted probability.

    The dots of a calibrated model lie on the diagonal; the area of a dot, and the bar below it, is
    the share of slices in its bin.
    """
    figure, drawn = _unit_axes("predicted probability", "share that is right", 1.0, True, 0)
    most = max((one.share for one in bins), default=1.0)
    for one in bins:
        drawn.bar(
            one.low, 0.2 * one.share / most, one.high - one.low, align="edge", color=LINE,
            edgecolor=PAPER,
        )  # fmt: skip
        x = one.confidence
        drawn.plot([x, x], [x, one.accuracy], color=SOFT, lw=1.2, zorder=2)
        drawn.scatter(
            [x], [one.accuracy], s=200 * one.share / most, color=colour_of(0), edgecolor=PAPER,
            zorder=3, clip_on=False,
        )  # fmt: skip
    return figure


def _unit_axes(
    across: str, up: str, highest: float, diagonal: bool, rows: int
) -> tuple[Figure, Axes]:
    """Open square axes from 0 to 1 and 0 to `highest`, with room for a legend of some rows."""
    figure, drawn = axes(NARROW, NARROW + 0.2 + 0.25 * rows)
    drawn.set_box_aspect(1)
    drawn.set(xlim=(0, 1), ylim=(0, highest), xlabel=across)
    drawn.set_title(up, loc="left", fontsize=10)
    if diagonal:
        drawn.plot([0, 1], [0, highest], "--", color=SOFT, lw=1)
    return figure, drawn
