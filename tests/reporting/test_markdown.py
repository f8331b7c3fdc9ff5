"""Values shown in Markdown stay values, and tell nothing of the machine they come from."""

import pytest

from kidney.reporting.markdown import bullets, document, table, text


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
def test_folders_of_a_machine_are_not_told(path: str, shown: str):
    assert text(path) == shown


def test_a_value_opens_neither_tag_nor_link_nor_cell():
    assert text("<b>[x](y)|`c`\n# d") == r"&lt;b>\[x\](y)\|\`c\` \# d"


def test_a_document_has_its_sections_in_order():
    page = document("T", "Lead.", {"One": bullets({"a_b": [1, 2]}), "Two": table(["x"], [["y"]])})
    assert page == "# T\n\nLead.\n\n## One\n\n- a b: 1, 2\n\n## Two\n\n| x |\n| --- |\n| y |\n"
