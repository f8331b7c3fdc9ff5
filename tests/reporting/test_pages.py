"""Values shown in Markdown stay values, and tell nothing of the machine they come from."""

import base64
import re
from html.parser import HTMLParser

import pytest
from jinja2 import UndefinedError

from kidney.evaluation.result import Figure
from kidney.reporting.pages import bullets, page, picture, table, text
from tests.helpers.pictures import encode, gradient


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/home/someone/weights/net.safetensors", "net.safetensors"),
        ("file:ab12 /mnt/disk/net.safetensors (MIT)", "file:ab12 net.safetensors (MIT)"),
        (r"C:\Users\someone\net.onnx", "net.onnx"),
        ("512 / 256 and 400/40 HU", "512 / 256 and 400/40 HU"),
        ("https://host.example/a/b.zip", "https://host.example/a/b.zip"),
        ("data/ct/manifest.csv", "data/ct/manifest.csv"),
        ("./artifacts/kidney.onnx", "./artifacts/kidney.onnx"),
    ],
)
def test_folders_of_a_machine_are_left_out(path: str, shown: str):
    assert text(path) == shown


def test_a_value_opens_neither_tag_nor_link_nor_cell():
    assert text("<b>[x](y)|`c`\n# d") == r"&lt;b>\[x\](y)\|\`c\` \# d"


def test_entries_are_written_in_one_line_each():
    assert bullets({"a_b": [1, 2], "c": {"d": "*"}}) == "- a b: 1, 2\n- c: d \\*"


def test_a_table_has_a_header_and_shows_values_as_text():
    assert table(["x"], [["y|z"]]) == "| x |\n| --- |\n| y\\|z |"


def test_markdown_that_is_made_here_stays_as_it_is():
    assert text(table(["x"], [])) == table(["x"], [])


HOSTILE = "<script>alert('x')</script> & \"quoted\""
FIGURES = {"iou": Figure(value=0.5, low=0.25, high=0.75), HOSTILE: Figure(value=None)}


def localisation(name: str, *pictures: str) -> str:
    return page(
        "localisation.html", title=name, lead=name, maps={"evidence": FIGURES},
        names={"evidence": name}, titles={"iou": name}, pictures=pictures,
    )  # fmt: skip


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
    html = localisation(HOSTILE, picture(b"png", HOSTILE), HOSTILE)
    assert "<script" not in html
    # title twice, lead, column, two rows, a picture twice, and what is no Markup
    assert html.count("&lt;script&gt;") == 9
    assert [a["alt"] for tag, a in elements(html) if tag == "img"] == [HOSTILE]


def test_a_page_loads_nothing_from_elsewhere() -> None:
    html = localisation("Report", picture(encode(gradient()), "one"))
    assert not re.search(r"http|url\(|@import", html)
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


def test_an_interval_stands_softer_beside_its_value() -> None:
    html = localisation("Report")
    assert '<td>0.500 <span class="soft">0.250 to 0.750</span></td>' in html
    assert "<td>n/a</td>" in html


def test_what_a_template_names_and_nobody_gives_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="title"):
        page("localisation.html")


def test_print_is_on_white_paper() -> None:
    html = localisation("Report")
    assert "@media screen and (prefers-color-scheme: dark)" in html
    assert html.count("prefers-color-scheme") == 1
