"""Values shown in Markdown stay values, and tell nothing of the machine they come from."""

import pytest

from kidney.reporting.markdown import bullets, table, text


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
