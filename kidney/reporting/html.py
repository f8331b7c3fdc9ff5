"""Reports for people: one self-contained HTML file with tables and embedded pictures."""

import base64
from collections.abc import Mapping, Sequence
from html import escape

_STYLE = """
:root { color-scheme: light dark; --ink: #1b2733; --soft: #5b6b7a; --line: #d9e0e6; --paper: #fff;
  --ok: #1d7a4c; --warn: #96660a; --fail: #b3261e; --dot: #2563a8;
  --c1: #c2500a; --c2: #007a5a; --c3: #a8477f; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e6ecf1; --soft: #9fb0bf;
  --line: #33414d; --paper: #141b21; --dot: #7db8f0; --ok: #5fcf98; --warn: #e8b75a;
  --fail: #ff8a80; --c1: #f0985a; --c2: #4fc9a1; --c3: #e39bc6; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0 } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem }
.lead { color: var(--soft); margin: .25rem 0 1.5rem; max-width: 46rem; white-space: pre-line }
.scroll { overflow-x: auto; margin: .5rem 0 1.2rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .35rem 1.2rem .35rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top } th { color: var(--soft); font-weight: 600 }
td:first-child { min-width: 5.8rem } th:last-child, td:last-child { padding-right: 0 }
.scroll td:first-child, .scroll th:first-child { position: sticky; left: 0;
  background: var(--paper) }
.ok { color: var(--ok) } .warn { color: var(--warn) } .fail { color: var(--fail) }
.ok, .warn, .fail { font-weight: 600 }
figure { margin: 1rem 0; } figcaption { color: var(--soft); font-size: .9rem }
img { max-width: 100%; height: auto; background: #fff; border-radius: 6px }
h3 { font-size: 1rem; margin: 1.2rem 0 .2rem }
article { border-left: 4px solid var(--line); padding: .1rem 1rem; margin: .8rem 0 }
article h3, article p, article ul { margin: .3rem 0 } article li { overflow-wrap: anywhere }
.note-ok { border-color: var(--ok) } .note-warn { border-color: var(--warn) }
.note-fail { border-color: var(--fail) }
svg { width: 100%; max-width: 44rem; height: auto; font-size: 13px }
svg text { fill: var(--ink) } svg .soft { fill: var(--soft) } svg line { stroke: var(--line) }
svg circle { fill: var(--dot); fill-opacity: .55 }
.soft { color: var(--soft) }
td .soft { font-size: .85em; display: inline-block; white-space: nowrap }
p { max-width: 46rem }
.beside { display: grid; gap: 1rem 2rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr)) }
.beside > * { margin: 0; min-width: 0 }
.c0 { color: var(--dot) } .c1 { color: var(--c1) } .c2 { color: var(--c2) } .c3 { color: var(--c3) }
.chart { display: block; max-width: 27rem; font-size: 12px }
.chart .curve { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round }
.chart .chance, .chart .gap { stroke: var(--soft) } .chart .chance { stroke-dasharray: 4 4 }
.chart .bar { fill: var(--line) } .chart .span { stroke: currentColor; stroke-width: 3 }
.chart .mark { fill: currentColor; fill-opacity: 1; stroke: var(--paper); stroke-width: 1.5 }
.chart .mark.other { fill: var(--paper); stroke: currentColor; stroke-width: 2 }
.chart .name, .chart .mark { paint-order: stroke } .chart .name { stroke: var(--paper);
  stroke-width: 4 }
.heat td, .heat td:last-child { text-align: center; padding: .45rem .3rem; min-width: 3.2rem;
  border: 1px solid var(--line) }
.heat th { overflow-wrap: anywhere; padding-right: .3rem; font-size: .85rem }
.heat small { display: block; color: inherit; opacity: .8 }
@media (max-width: 30rem) { body { margin: 1rem auto } th, td { padding-right: .6rem } }
@media print { body { font-size: 10pt; max-width: none; margin: 0 } h2, h3 { break-after: avoid }
  tr, figure, article, .chart { break-inside: avoid }
  tr:first-child { break-after: avoid } .scroll { overflow: visible }
  .heat td { print-color-adjust: exact; -webkit-print-color-adjust: exact } }
"""


def page(title: str, lead: str, sections: Sequence[tuple[str, str]]) -> str:
    """Return an HTML document.

    Args:
        title: plain text.
        lead: plain text under the title: what the reader must know first.
        sections: (heading as plain text, body as HTML made by the functions below).
    """
    body = "".join(f"<section><h2>{escape(head)}</h2>{html}</section>" for head, html in sections)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f'<h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p>{body}</body></html>\n'
    )


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return an HTML table.

    A cell that is exactly ok, warn or fail takes that colour; the second of a pair is softer.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _cell(value: object) -> str:
    if isinstance(value, tuple):
        main, soft = map(escape, value)
        return f'<td>{main} <span class="soft">{soft}</span></td>'
    text = escape(str(value))
    return (
        f'<td class="{text}">{text}</td>' if text in ("ok", "warn", "fail") else f"<td>{text}</td>"
    )


def heat_table(
    corner: str, names: Sequence[str], rows: Sequence[Sequence[tuple[str, str, float]]]
) -> str:
    """Return a square table whose cells are the darker the larger their share.

    Args:
        corner: what rows and columns are.
        names: of the rows, and of the columns.
        rows: a cell each column: text, a second line of text, and the share, 0 to 1.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in (corner, *names))
    body = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(_heat_cell(cell) for cell in row)}</tr>"
        for name, row in zip(names, rows, strict=True)
    )
    return f'<div class="scroll"><table class="heat"><tr>{head}</tr>{body}</table></div>'


def _heat_cell(cell: tuple[str, str, float]) -> str:
    text, below, share = cell
    # At half cover dark and light ink can both be read on it.
    style = f"background: rgba(60, 130, 200, {0.55 * share:.2f})"
    return f'<td style="{style}">{escape(text)}<small>{escape(below)}</small></td>'


def prose(*texts: str) -> str:
    """Return plain texts as paragraphs."""
    return "".join(f"<p>{escape(text)}</p>" for text in texts)


def beside(*parts: str) -> str:
    """Return HTML parts side by side, below each other where the page is narrow."""
    return f'<div class="beside">{"".join(f"<div>{part}</div>" for part in parts)}</div>'


def note(level: str, title: str, text: str, remedy: str, examples: Sequence[str]) -> str:
    """Return one finding as HTML; `level` is ok, warn or fail, all else plain text."""
    lines = [f'<h3><span class="{level}">{level}</span> {escape(title)}</h3><p>{escape(text)}</p>']
    if remedy:
        lines.append(f"<p><b>What to do:</b> {escape(remedy)}</p>")
    if examples:
        listed = "".join(f"<li>{escape(example)}</li>" for example in examples)
        lines.append(f"<ul>{listed}</ul>")
    return f'<article class="note-{level}">{"".join(lines)}</article>'


def strips(groups: Mapping[str, Sequence[float]]) -> str:
    """Return a chart with a row of dots a group, one dot a value, all on one scale.

    Args:
        groups: name -> values; no value is NaN.
    """
    values = [value for group in groups.values() for value in group]
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    left, width, row = 8 + 8 * max(map(len, groups)), 600, 26
    shapes = []
    for number, (name, group) in enumerate(groups.items()):
        y = row * number + row // 2
        shapes.append(f'<text x="0" y="{y + 5}">{escape(name)}</text>')
        shapes.append(f'<line x1="{left}" x2="{left + width}" y1="{y}" y2="{y}"/>')
        shapes += [
            f'<circle cx="{left + width * (value - low) / span:.0f}" cy="{y}" r="5"/>'
            for value in group
        ]
    foot = row * len(groups) + 14
    shapes.append(f'<text class="soft" x="{left}" y="{foot}">{low:.3g}</text>')
    shapes.append(
        f'<text class="soft" x="{left + width}" y="{foot}" text-anchor="end">{high:.3g}</text>'
    )
    told = "; ".join(f"{name}: {len(group)} values" for name, group in groups.items())
    return (
        f'<svg role="img" aria-label="{escape(told, quote=True)}" '
        f'viewBox="0 0 {left + width + 10} {foot + 4}">{"".join(shapes)}</svg>'
    )


def picture(png: bytes, caption: str) -> str:
    """Return an HTML figure with the PNG embedded."""
    data = base64.b64encode(png).decode()
    alt = escape(caption, quote=True)
    return (
        f'<figure><img alt="{alt}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
