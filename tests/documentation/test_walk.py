"""A new user follows README.md from top to bottom, then every page of docs/, in one checkout."""

from pathlib import Path

import pytest

from tests.helpers.doc_pages import commands, pages
from tests.helpers.doc_walk import Walk, furnish
from tests.helpers.tiny_model import write_tiny_model
from tests.helpers.web import serving


@pytest.mark.slow
def test_every_command_does_what_it_says(make_checkout, shared: Path, tmp_path: Path):
    checkout = make_checkout()
    furnish(checkout, shared)
    with serving(write_tiny_model(tmp_path / "kidney.onnx").read_bytes(), beside={}) as web:
        walk = Walk(checkout, web.url)
        try:
            for page in pages():
                for command in commands(page):
                    print(command, flush=True)
                    walk.do(command)
        finally:
            walk.end()
    for left in (
        "kidney.onnx", "kidney.int8.onnx", "served/kidney.onnx", "artifacts/kidney.onnx.sig",
        "artifacts/kidney.onnx", "artifacts/evaluation/by_patient/report.html", "mlflow.db",
        "data/ct_kidney/validation.html", "data/kits/manifest.csv", "data/mine/manifest.csv",
    ):  # fmt: skip
        assert (checkout.folder / left).is_file(), left
