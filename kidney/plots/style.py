"""What all charts share. Where colour tells things apart, a mark or a dash does so too."""

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

COLOURS = ("#2563a8", "#c2500a", "#007a5a", "#a8477f")
MARKS = ("o", "s", "^", "D")
HATCHES = ("", "//", "..", "xx")
DASHES = ("-", "--", ":", "-.")
INK, SOFT, LINE, PAPER = "#1b2733", "#5b6b7a", "#d9e0e6", "#ffffff"
WIDE, NARROW = 6.4, 4.8  # inches; a narrow chart can be read on a phone
_SIDE, _CAPTION = 1.55, 0.17  # inches of a picture of a sheet, and of a line above it
_STYLE: Any = {
    "figure.dpi": 110,
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,  # a name may hold a dollar
    "axes.labelcolor": INK,
    "axes.edgecolor": LINE,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LINE,
    "legend.frameon": False,
    "xtick.color": SOFT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "ytick.color": INK,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "kidney",  # the same figure gives the same ids
}
# A page defines these variables for light, dark and print; elsewhere the colour itself holds.
_VARIABLES = {
    INK: "--ink", SOFT: "--soft", LINE: "--line", PAPER: "--paper",
    **{colour: f"--c{number}" for number, colour in enumerate(COLOURS)},
}  # fmt: skip

plt.rcParams.update(_STYLE)  # for good: matplotlib reads some settings as late as it draws


def axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Open one pair of axes, in inches.

    It is closed for pyplot at once: a notebook shows a figure where it is returned, and only there.
    """
    figure, drawn = plt.subplots(figsize=(width, height), layout="constrained")
    plt.close(figure)
    return figure, drawn


def colour_of(number: int) -> str:
    """Return the colour of the n-th thing, from 0."""
    return COLOURS[number % len(COLOURS)]


def svg(figure: Figure, alt: str) -> Markup:
    """Return a chart as inline SVG in the colours of the page, without a date or random ids.

    Args:
        alt: what it shows, for readers who don't see it.
    """
    out = io.StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(out, format="svg", transparent=True, metadata=metadata)
    whole = out.getvalue()
    box = re.search(r'viewBox="[^"]*"', whole)
    assert box
    drawn = whole[whole.index("<g ") : whole.rindex("</svg>")]
    drawn = re.sub(r'<g id="[^"]*"', "<g", drawn)  # numbered in each chart anew
    drawn = re.sub(r" ?font-family: [^;\"]*;?", "", drawn)  # that of the page
    drawn = re.sub(r"\s*\n\s*", " ", drawn).replace("xlink:href", "href")
    for colour, variable in _VARIABLES.items():
        drawn = drawn.replace(colour, f"var({variable}, {colour})")
    head = f'<svg class="chart" role="img" aria-label="{escape(alt)}" {box[0]}>'
    return Markup(f"{head}{drawn}</svg>")


def sheet(pictures: Sequence[NDArray[np.uint8]], captions: Sequence[str], columns: int) -> Figure:
    """Lay pictures out in rows.

    Args:
        pictures: uint8 (H, W), black to white whatever their own range, or RGB (H, W, 3); none
            make an empty sheet.
        captions: one for each, above it; line breaks are kept.
    """
    rows = max(1, -(-len(pictures) // columns))
    lines = max((caption.count("\n") + 1 for caption in captions), default=1)
    size = (_SIDE * columns, (_SIDE + _CAPTION * (lines + 0.4)) * rows)
    figure, cells = plt.subplots(
        rows, columns, figsize=size, dpi=110, layout="constrained", squeeze=False
    )
    plt.close(figure)
    for cell in cells.flat:
        cell.axis("off")
    for cell, picture, caption in zip(cells.flat, pictures, captions, strict=False):
        cell.imshow(picture, cmap="gray", vmin=0, vmax=255)
        cell.set_title(caption, fontsize=8, loc="left")
    return figure
