"""Reports are one file that loads nothing and shows text as text."""

import base64
from html.parser import HTMLParser

import pytest

from kidney.page import page, picture, table
from tests.pictures import encode, gradient

HOSTILE = "<script>alert('x')</script> & \"quoted\""


def elements(html: str) -> list[tuple[str, dict[str, str | None]]]:
    """List (tag, attributes) of a document."""
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append(  # type: ignore[method-assign]
        (tag, dict(attributes))
    )
    parser.feed(html)
    return found


def test_text_is_shown_as_text_wherever_it_goes() -> None:
    body = table([HOSTILE], [[HOSTILE]]) + picture(b"png", HOSTILE)
    html = page(HOSTILE, HOSTILE, [(HOSTILE, body)])
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 8  # title twice, lead, heading, two cells, picture twice
    assert {"title", "h1", "p", "h2", "th", "td", "img"} <= {tag for tag, _ in elements(html)}
    assert [a["alt"] for tag, a in elements(html) if tag == "img"] == [HOSTILE]


def test_a_page_loads_nothing_from_elsewhere() -> None:
    html = page("Report", "Lead", [("Pictures", picture(encode(gradient()), "one"))])
    assert "http" not in html
    assert "url(" not in html
    assert "@import" not in html
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in elements(html)}
    for _, attributes in elements(html):
        assert "href" not in attributes
        assert str(attributes.get("src", "data:")).startswith("data:")


def test_a_picture_is_embedded_byte_by_byte() -> None:
    png = encode(gradient())
    (source,) = (a["src"] for tag, a in elements(picture(png, "one")) if tag == "img")
    assert source is not None
    kind, data = source.split(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data) == png


@pytest.mark.parametrize(
    ("value", "colour"),
    [("ok", "ok"), ("warn", "warn"), ("fail", "fail"), ("failed", None), ("OK", None), (3, None)],
)
def test_a_cell_is_coloured_only_where_it_is_a_level(value: object, colour: str | None) -> None:
    (attributes,) = (a for tag, a in elements(table(["level"], [[value]])) if tag == "td")
    assert attributes.get("class") == colour


def test_a_table_has_a_row_of_names_and_a_row_for_each_row() -> None:
    tags = [tag for tag, _ in elements(table(["a", "b"], [[1, 2], [3, 4]]))]
    assert tags == ["div", "table", "tr", "th", "th", "tr", "td", "td", "tr", "td", "td"]
