"""Pages for people, from Jinja templates: HTML in one file that loads nothing, and Markdown cards.

The cards are those that the Hugging Face Hub reads; all values are shown as text.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from kidney.reporting.labels import figure_name, number, value_and_interval, with_interval

if TYPE_CHECKING:  # servers do without it
    from huggingface_hub import CardData, RepoCard

# /home/someone/file.zip and C:\Users\someone\file.zip, but neither https://host/a/b nor 512/256.
_FOLDERS = re.compile(
    r"(?<![\w.:/\\-])(?:/(?:[^\s/|,;:'\"]+/)+|[A-Za-z]:\\+(?:[^\s\\|,;'\"]+\\+)+)"
)


def text(value: object) -> Markup:
    """Show a value as text: it cannot open a tag, a link, a table cell or a line.

    Of an absolute path only the last name is left: a folder tells of a machine and its user, and
    nothing of the file. Markup is Markdown already and stays as it is.
    """
    if isinstance(value, Markup):
        return value
    plain = _FOLDERS.sub("", " ".join(str(value).split()))
    plain = plain.replace("&", "&amp;").replace("<", "&lt;")
    for mark in "\\`*_[]|#":
        plain = plain.replace(mark, f"\\{mark}")
    return Markup(plain)


def bullets(content: Mapping[str, Any]) -> Markup:
    """Return a line for each entry; a mapping or a list in it is written in one line."""
    entries = content.items()
    return Markup("\n".join(f"- {text(key.replace('_', ' '))}: {_line(v)}" for key, v in entries))


def _line(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{text(name)} {text(one)}" for name, one in value.items())
    return ", ".join(map(text, value)) if isinstance(value, list | tuple) else text(value)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Markup:
    """Return a table; the first column is read as names."""
    lines = [header, ["---"] * len(header), *rows]
    return Markup("\n".join(f"| {' | '.join(map(text, line))} |" for line in lines))


def _environment(**more: Any) -> Environment:
    found = Environment(
        loader=PackageLoader("kidney.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **more,
    )
    found.globals |= {
        "figure_name": figure_name,
        "number": number,
        "pair": value_and_interval,
        "with_interval": with_interval,
    }
    return found


_PAGES = _environment()
# Autoescape would write HTML; `text` comes first and leaves nothing to escape.
_CARDS = _environment(finalize=text)
_CARDS.globals |= {"bullets": bullets, "table": table}


def card(templates: list[str], kind: "type[RepoCard]", data: "CardData", **context: Any) -> str:
    """Return a card of the hub: its metadata as a YAML block, then the template.

    Args:
        templates: of kidney/reporting/templates; the first that is there.
        context: what the template names; all values but Markup are shown as text.
    """
    body = _CARDS.select_template(templates).render(context)
    frame = "---\n{{ card_data }}\n---\n\n{{ body }}\n"
    return str(kind.from_template(data, template_str=frame, body=body.strip()))


def page(template: str, **context: Any) -> str:
    """Return an HTML document; all values but Markup are shown as text."""
    return _PAGES.get_template(template).render(context)


def picture(png: bytes, caption: str) -> Markup:
    """Return an HTML figure with the PNG embedded; the caption is its alternative text, too."""
    data = base64.b64encode(png).decode()
    return Markup(
        '<figure><img alt="{0}" src="data:image/png;base64,{1}">'
        "<figcaption>{0}</figcaption></figure>"
    ).format(caption, data)
