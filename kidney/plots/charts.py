"""Charts of counts, figures and curves. Each function takes plain values and returns a figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator, PercentFormatter

from kidney.plots.style import COLOURS, DASHES, HATCHES, INK, LINE, MARKS, SOFT, axes

_WIDTH = 6.4  # inches


def dots(groups: Mapping[str, Sequence[float]], across: str) -> Figure:
    """Draw a row of dots a group, one a value; equal values lie above each other.

    Args:
        groups: name -> values.
        across: name of the axis, with its unit.
    """
    figure, drawn = axes(_WIDTH, 0.7 + 0.55 * len(groups))
    for row, values in enumerate(groups.values()):
        found, counts = np.unique(np.asarray(values, float), return_counts=True)
        highest = max(int(counts.max(initial=1)), 8)
        for value, count in zip(found, counts, strict=True):
            places = row - 0.35 * np.arange(count) / highest * 2 + 0.3
            drawn.plot([value] * count, places, MARKS[row % 4], color=_colour(row), ms=4, alpha=0.7)
    drawn.set_yticks(range(len(groups)), list(groups))
    drawn.set_ylim(len(groups) - 0.5, -0.5)
    drawn.set_xlabel(across)
    drawn.grid(visible=False, axis="y")
    return figure


def stacked(counts: Mapping[str, Mapping[str, int]], across: str) -> Figure:
    """Draw a bar a group, cut into its categories, with the counts written in.

    Args:
        counts: group -> category -> how many.
        across: name of the axis.
    """
    figure, drawn = axes(_WIDTH, 1.1 + 0.42 * len(counts))
    categories = list(dict.fromkeys(name for row in counts.values() for name in row))
    starts = np.zeros(len(counts))
    for number, category in enumerate(categories):
        widths = np.array([row.get(category, 0) for row in counts.values()], float)
        bars = drawn.barh(
            range(len(counts)), widths, left=starts, height=0.7, label=category,
            color=_colour(number), hatch=HATCHES[number % 4], edgecolor="white",
        )  # fmt: skip
        told = [f"{width:g}" if width else "" for width in widths]
        drawn.bar_label(
            bars, told, label_type="center", fontweight="bold", color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.2, "alpha": 0.85},
        )  # fmt: skip
        starts += widths
    for label in drawn.texts:  # an empty one would leave its box
        label.set_visible(bool(label.get_text()))
    drawn.set_yticks(range(len(counts)), list(counts))
    drawn.invert_yaxis()
    drawn.set_xlabel(across)
    drawn.grid(visible=False, axis="y")
    drawn.legend(
        ncols=len(categories), loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2,
        frameon=False,
    )  # fmt: skip
    return figure


def shares(groups: Mapping[str, Mapping[str, float]], across: str) -> Figure:
    """Draw shares, 0 to 1, as bars: a block a group, a bar each name in it.

    Args:
        groups: group -> name -> share.
        across: name of the axis.
    """
    names = list(dict.fromkeys(name for row in groups.values() for name in row))
    high = 0.8 / len(names)
    figure, drawn = axes(_WIDTH, 0.7 + 0.2 * len(names) + 0.27 * len(names) * len(groups))
    for number, name in enumerate(names):
        places = [row + high * (number - (len(names) - 1) / 2) for row in range(len(groups))]
        values = [row.get(name, 0.0) for row in groups.values()]
        bars = drawn.barh(
            places, values, height=high * 0.9, label=name, color=_colour(number),
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
    drawn.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, frameon=False)
    return figure


def histograms(values: Mapping[str, Sequence[float]], across: str) -> Figure:
    """Draw how often values occur, each name as a share of its own.

    Args:
        values: name -> values.
        across: name of the axis.
    """
    figure, drawn = axes(_WIDTH, 2.6)
    every = np.concatenate([np.asarray(one, float) for one in values.values()])
    bins = np.linspace(every.min(), every.max(), 41).tolist()
    for number, (name, one) in enumerate(values.items()):
        weights = np.full(len(one), 1 / max(len(one), 1))
        drawn.hist(
            one, bins, weights=weights, label=f"{name} ({len(one):,})", color=_colour(number),
            alpha=0.65, hatch=HATCHES[number % 4], edgecolor="white",
        )  # fmt: skip
    drawn.yaxis.set_major_formatter(PercentFormatter(1, 0))
    drawn.set_xlabel(across)
    drawn.set_ylabel("share of the pairs")
    drawn.legend(loc="upper left", frameon=False)
    return figure


def intervals(rows: Mapping[str, Mapping[str, Mapping[str, Any]]], across: str) -> Figure:
    """Draw figures between 0 and 1 as marks on their 95 % intervals.

    Args:
        rows: what is measured -> who -> value, low and high; undefined figures are left out.
        across: name of the axis.
    """
    who = list(dict.fromkeys(name for row in rows.values() for name in row))
    figure, drawn = axes(_WIDTH, 0.9 + (0.22 + 0.16 * len(who)) * len(rows))
    step = 0.6 / max(len(who), 2)
    for number, name in enumerate(who):
        for place, row in enumerate(rows.values()):
            said = row.get(name)
            if said is None or said["value"] is None:
                continue
            y = place + step * (number - (len(who) - 1) / 2)
            if said["low"] is not None:
                drawn.plot([said["low"], said["high"]], [y, y], lw=2.2, color=_colour(number))
            drawn.plot(
                [said["value"]], [y], MARKS[number % 4], color=_colour(number), ms=6.5, mec="white"
            )
        drawn.plot(
            [], [], MARKS[number % 4] + "-", lw=2.2, ms=6.5, mec="white", label=name,
            color=_colour(number),
        )  # fmt: skip
    drawn.set_yticks(range(len(rows)), list(rows))
    drawn.set_ylim(len(rows) - 0.5, -0.5)
    drawn.set_xlim(-0.02, 1.02)
    drawn.set_xlabel(across)
    drawn.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, frameon=False)
    return figure


def lines(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], across: str, up: str
) -> Figure:
    """Draw curves in one pair of axes; few points are marked.

    Args:
        curves: name -> x and y.
        across: name of the horizontal axis.
        up: name of the vertical axis.
    """
    figure, drawn = axes(_WIDTH, 2.9)
    for number, (name, (x, y)) in enumerate(curves.items()):
        turn = (number + number // 4) % 4
        drawn.plot(
            x, y, DASHES[turn], label=name, lw=1.8, ms=4, color=_colour(number),
            marker=MARKS[turn] if len(x) < 15 else None,
        )  # fmt: skip
    drawn.set_xlabel(across)
    drawn.set_ylabel(up)
    if len(curves) > 1:
        drawn.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8, frameon=False)
    return figure


def reliability(bins: Sequence[Mapping[str, float]]) -> Figure:
    """Draw the share that is right over the probability told; a dot's area is its share of slices.

    Args:
        bins: low, high, confidence, accuracy and share, as
            `kidney.evaluation.metrics.calibration` gives them.
    """
    figure, drawn = axes(3.8, 3.6)
    drawn.plot([0, 1], [0, 1], "--", color=SOFT, lw=1)
    drawn.annotate("perfect", (0.0, 0.1), rotation=45, color=SOFT, fontsize=8)
    most = max((one["share"] for one in bins), default=1.0)
    for one in bins:
        told, right = one["confidence"], one["accuracy"]
        drawn.plot([told, told], [told, right], color=LINE, lw=2, zorder=2)
        drawn.scatter([told], [right], s=200 * one["share"] / most, color=COLOURS[0], zorder=3)
    drawn.set_xlim(0, 1.06)  # room for a dot at the end
    drawn.set_ylim(-0.03, 1.06)
    drawn.set_xlabel("probability told")
    drawn.set_ylabel("share that is right")
    drawn.set_aspect("equal")
    return figure


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]
