"""What all figures share. Where colour tells things apart, a mark or a dash does so too."""

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#2563a8", "#c2500a", "#007a5a", "#a8477f")  # those of the reports
MARKS = ("o", "s", "^", "D")
HATCHES = ("", "//", "..", "xx")
DASHES = ("-", "--", ":", "-.")
INK, SOFT, LINE = "#1b2733", "#5b6b7a", "#d9e0e6"
_STYLE: Any = {
    "figure.dpi": 110,
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": LINE,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LINE,
    "xtick.color": SOFT,
    "ytick.color": INK,
}


def axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Open one pair of axes, in inches.

    It is closed for pyplot at once: a notebook shows a figure where it is returned, and only there.
    """
    with plt.rc_context(_STYLE):
        figure, drawn = plt.subplots(figsize=(width, height), layout="constrained")
    plt.close(figure)
    return figure, drawn
