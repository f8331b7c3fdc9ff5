"""Pages for people: Jinja templates to one self-contained HTML file that loads nothing."""

import base64
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from kidney.reporting.labels import figure_name, number, value_and_interval, with_interval

_PAGES = Environment(
    loader=PackageLoader("kidney.reporting"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_PAGES.globals |= {
    "figure_name": figure_name,
    "number": number,
    "pair": value_and_interval,
    "with_interval": with_interval,
}


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
