"""Reports are one file that loads nothing and shows text as text."""

import base64
from html.parser import HTMLParser

import pytest

from kidney.reporting.html import beside, heat_table, page, picture, prose, table
from tests.helpers.pictures import encode, gradient

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


def test_the_second_of_a_pair_is_softer() -> None:
    html = table(["figure"], [[("0.712", "0.650 to 0.771")]])
    assert '<td>0.712 <span class="soft">0.650 to 0.771</span></td>' in html
    assert "<b>" not in table(["a"], [[("<b>", "<b>")]])


def test_a_cell_is_the_darker_the_larger_its_share() -> None:
    html = heat_table("is / called", ["a", HOSTILE], [[("7", "70%", 0.7), ("3", "30%", 0.3)]] * 2)
    styles = [str(a["style"]) for tag, a in elements(html) if tag == "td"]
    cover = [float(style.rpartition(",")[2].rstrip(")")) for style in styles]
    assert cover[0] > cover[1] > 0
    assert cover[0] <= 0.55  # ink must be readable on it, light or dark
    assert "<script" not in html


def test_prose_is_text_and_parts_stay_in_their_order() -> None:
    html = beside(prose("one", HOSTILE), prose("two"))
    assert "<script" not in html
    assert html.index("one") < html.index("two")
    assert [tag for tag, _ in elements(html)] == ["div", "div", "p", "p", "div", "p"]


def test_print_is_on_white_paper() -> None:
    style = page("a", "b", [])
    assert "@media screen and (prefers-color-scheme: dark)" in style
    assert style.count("prefers-color-scheme") == 1
