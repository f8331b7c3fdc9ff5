"""Reports for people: one self-contained HTML file with tables and embedded pictures."""

import base64
from collections.abc import Sequence
from html import escape

_STYLE = """
:root { color-scheme: light dark; --ink: #1b2733; --soft: #5b6b7a; --line: #d9e0e6; --paper: #fff;
  --ok: #1d7a4c; --warn: #96660a; --fail: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ecf1; --soft: #9fb0bf; --line: #33414d;
  --paper: #141b21; --ok: #5fcf98; --warn: #e8b75a; --fail: #ff8a80; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0 } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem }
.lead { color: var(--soft); margin: .25rem 0 1.5rem; max-width: 46rem; white-space: pre-line }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .35rem 1.2rem .35rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top } th { color: var(--soft); font-weight: 600 }
.ok { color: var(--ok) } .warn { color: var(--warn) } .fail { color: var(--fail) }
.ok, .warn, .fail { font-weight: 600 }
figure { margin: 1rem 0; } figcaption { color: var(--soft); font-size: .9rem }
img { max-width: 100%; height: auto; background: #fff; border-radius: 6px }
"""


def page(title: str, lead: str, sections: Sequence[tuple[str, str]]) -> str:
    """Return an HTML document.

    Args:
        title: plain text.
        lead: plain text under the title: what the reader must know first.
        sections: (heading as plain text, body as HTML made by `table` and `picture`).
    """
    body = "".join(f"<section><h2>{escape(head)}</h2>{html}</section>" for head, html in sections)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f'<h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p>{body}</body></html>\n'
    )


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return an HTML table; a cell that is exactly ok, warn or fail takes that colour."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _cell(value: object) -> str:
    text = escape(str(value))
    return (
        f'<td class="{text}">{text}</td>' if text in ("ok", "warn", "fail") else f"<td>{text}</td>"
    )


def picture(png: bytes, caption: str) -> str:
    """Return an HTML figure with the PNG embedded."""
    data = base64.b64encode(png).decode()
    alt = escape(caption, quote=True)
    return (
        f'<figure><img alt="{alt}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
