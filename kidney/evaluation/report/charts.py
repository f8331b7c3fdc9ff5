"""Pictures of a result as inline SVG, in the page's own colours: crisp, light and dark, printable.

Where colour tells lines apart, dashes do so too. Every chart says in words what it shows.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

_LEFT, _TOP, _SIDE = 40, 26, 300  # the square that lines are drawn in, in units of the viewBox
_WIDTH = _LEFT + _SIDE + 12
_ROW = 19
_COLOURS = 4  # that the page's style has
_DASHES = ("none", "7 3", "2 2", "9 3 2 3")
_LARGEST, _HIGHEST = 8, 60  # radius and bar of the fullest bin


class Line(NamedTuple):
    """One line of a chart; `note` follows its name in the legend, where only names are."""

    x: Sequence[float]
    y: Sequence[float]
    name: str = ""
    note: str = ""


class Dot(NamedTuple):
    """A point of interest on the line with that number."""

    line: int
    x: float
    y: float


def line_chart(
    told: str,
    across: str,
    up: str,
    lines: Sequence[Line],
    *,
    highest: float = 1.0,
    chance: bool = False,
    dots: Sequence[Dot] = (),
) -> str:
    """Draw lines over a square, 0 to 1 across and 0 to `highest` up, with a legend below.

    Args:
        told: what the chart shows, for readers who don't see it.
        across: name of the horizontal axis.
        up: name of the vertical axis.
        lines: one without points is in the legend only.
        highest: upper end of the vertical axis.
        chance: whether to draw the diagonal.
        dots: marks on the lines.
    """
    shapes = _axes(across, up, highest)
    if chance:
        shapes.append(_diagonal())
    foot = _TOP + _SIDE + 34
    for order, line in enumerate(lines):
        corners = zip(line.x, line.y, strict=True)
        points = " ".join(f"{_x(x):.1f},{_y(y / highest):.1f}" for x, y in corners)
        if points:
            shapes.append(f'<polyline {_pen(order)} points="{points}"/>')
        if not line.name:
            continue
        foot += _ROW
        shapes.append(f'<path {_pen(order)} d="M{_LEFT} {foot - 4}h26"/>')
        shapes.append(
            f'<text x="{_LEFT + 34}" y="{foot}">{escape(line.name)}'
            f'<tspan class="soft" dx="8">{escape(line.note)}</tspan></text>'
        )
    for dot in dots:
        centre = f'cx="{_x(dot.x):.1f}" cy="{_y(dot.y / highest):.1f}"'
        shapes.append(f'<circle class="mark c{dot.line % _COLOURS}" {centre} r="5"/>')
    return _svg(told, shapes, foot + 8)


def reliability_chart(bins: Sequence[Mapping[str, Any]]) -> str:
    """Draw the share that is right over the probability that was told.

    A calibrated model's dots lie on the diagonal; a dot's area grows with the share of slices in
    its bin, and so does the bar below it.

    Args:
        bins: low, high, confidence, accuracy and share, all 0 to 1; empty ones are left out.
    """
    shapes = [*_axes("probability told", "share that is right", 1.0), _diagonal()]
    filled = [bin_ for bin_ in bins if bin_["share"] > 0]
    most = max((bin_["share"] for bin_ in filled), default=1.0)
    for bin_ in filled:
        told, right = bin_["confidence"], bin_["accuracy"]
        height = _HIGHEST * bin_["share"] / most
        left, width = _x(bin_["low"]), _SIDE * (bin_["high"] - bin_["low"])
        base = _y(0)
        shapes.append(
            f'<rect class="bar" x="{left + 1:.1f}" y="{base - height:.1f}" '
            f'width="{width - 2:.1f}" height="{height:.1f}"/>'
        )
        shapes.append(_segment("gap", told, told, told, right))
        radius = _LARGEST * math.sqrt(bin_["share"] / most)
        shapes.append(
            f'<circle class="mark c0" cx="{_x(told):.1f}" cy="{_y(right):.1f}" r="{radius:.1f}"/>'
        )
    told_all = "; ".join(
        f"told {bin_['confidence']:.2f}, right {bin_['accuracy']:.2f}" for bin_ in filled
    )
    return _svg(f"Reliability: {told_all}", shapes, _TOP + _SIDE + 36)


def interval_chart(
    rows: Sequence[tuple[str, Mapping[str, Any], Mapping[str, Any] | None]],
) -> str:
    """Draw figures between 0 and 1 as dots on their 95 % intervals, a row each.

    Args:
        rows: name, the figure with value, low and high, and the same figure of another split to
            show beside it, hollow; undefined figures are left out.
    """
    shapes, told, row = [], [], 36
    left, span = 8, _WIDTH - 16
    foot = row * len(rows) + 6
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = left + span * tick
        shapes.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{foot}"/>')
        anchor = "start" if tick == 0 else "end" if tick == 1 else "middle"
        shapes.append(
            f'<text class="soft" x="{x:.1f}" y="{foot + 15}" text-anchor="{anchor}">{tick:g}</text>'
        )
    for order, (name, figure, other) in enumerate(rows):
        y = row * order + 26
        shapes.append(f'<text class="name" x="{left}" y="{y - 11}">{escape(name)}</text>')
        for kind, shown in (("other c1", other), ("c0", figure)):
            if shown is None or shown["value"] is None:
                continue
            value = left + span * shown["value"]
            if shown["low"] is not None:
                low, high = (left + span * shown[end] for end in ("low", "high"))
                shapes.append(f'<path class="span {kind}" d="M{low:.1f} {y}H{high:.1f}"/>')
            shapes.append(f'<circle class="mark {kind}" cx="{value:.1f}" cy="{y}" r="5"/>')
            told.append(f"{name} {shown['value']:.3f}{' elsewhere' if kind != 'c0' else ''}")
    return _svg("; ".join(told), shapes, foot + 22)


def _svg(told: str, shapes: Sequence[str], height: float) -> str:
    return (
        f'<svg class="chart" role="img" aria-label="{escape(told, quote=True)}" '
        f'viewBox="0 0 {_WIDTH} {height:g}">{"".join(shapes)}</svg>'
    )


def _axes(across: str, up: str, highest: float) -> list[str]:
    shapes = [f'<text class="soft" x="{_LEFT}" y="14">{escape(up)}</text>']
    for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        shapes.append(_segment("", 0, tick, 1, tick))
        shapes.append(_segment("", tick, 0, tick, 1))
        shapes.append(
            f'<text class="soft" x="{_LEFT - 6}" y="{_y(tick) + 4:.0f}" text-anchor="end">'
            f"{tick * highest:.2g}</text>"
        )
        shapes.append(
            f'<text class="soft" x="{_x(tick):.0f}" y="{_TOP + _SIDE + 15}" text-anchor="middle">'
            f"{tick:g}</text>"
        )
    middle, below = _LEFT + _SIDE / 2, _TOP + _SIDE + 31
    shapes.append(
        f'<text class="soft" x="{middle:.0f}" y="{below}" text-anchor="middle">'
        f"{escape(across)}</text>"
    )
    return shapes


def _diagonal() -> str:
    return _segment("chance", 0, 0, 1, 1)


def _segment(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return (
        f'<line class="{kind}" x1="{_x(x1):.1f}" y1="{_y(y1):.1f}" '
        f'x2="{_x(x2):.1f}" y2="{_y(y2):.1f}"/>'
    )


def _x(share: float) -> float:
    return _LEFT + _SIDE * share


def _y(share: float) -> float:
    return _TOP + _SIDE * (1 - share)


def _pen(order: int) -> str:
    # 16 lines differ in colour or dashes.
    dash = _DASHES[(order + order // _COLOURS) % len(_DASHES)]
    return f'class="curve c{order % _COLOURS}" stroke-dasharray="{dash}"'
