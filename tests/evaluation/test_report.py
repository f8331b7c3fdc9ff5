import json
import re
from typing import Any

import numpy as np
import pytest

from kidney.evaluation.report import evaluate, report_page

CLASSES = ["normal", "cyst", "tumor", "kidney_stone"]
LABELS = np.repeat([0, 1, 2, 3], 10)
SCANS = np.array([f"scan-{row // 5}" for row in range(40)])
PROBABILITIES = np.random.default_rng(0).dirichlet(np.ones(4), 40)


def result_of(first: int) -> dict[str, Any]:
    """The result on the first slices of all."""
    return {
        "model": {"backbone": "resnet10t", "run": "run-17", "code": "c", "checkpoint": "0"},
        "data": {"name": "phantom"},
        "split": {"name": "by_scan", "fold": 2, "folds": 5, "part": "test"},
        **evaluate(LABELS[:first], PROBABILITIES[:first], SCANS[:first], CLASSES),
    }


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    return result_of(40)


@pytest.fixture(scope="module")
def html(result: dict[str, Any]) -> str:
    return report_page(result, LABELS, PROBABILITIES)


def test_the_page_names_split_part_and_scans_beside_the_figures(html: str):
    text = re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", html, flags=re.S))
    assert "by_scan, fold 2 of 5, part test: 40 slices of 8 scans" in text
    assert "run-17" in text
    assert "No scan of the test part was seen in training" in text
    assert "95 % interval over scans" in text


def test_pooled_folds_are_called_so(result: dict[str, Any]):
    split = {**result["split"], "fold": "all"}
    assert "all 5 folds pooled" in report_page({**result, "split": split}, LABELS, PROBABILITIES)


def test_the_page_tells_each_figure_with_its_interval(html: str, result: dict[str, Any]):
    for figure in result["figures"].values():
        cells = (
            f"<td>{figure['value']:.3f}</td><td>{figure['low']:.3f} to {figure['high']:.3f}</td>"
        )
        assert cells in html
    names = re.findall(r"<tr><td>([^<]*)</td>", html)
    assert "Recall of kidney_stone" in names
    assert "AUROC of tumor" in names
    assert "Macro AUROC" in names


def test_a_leaky_split_is_shouted_before_any_figure(html: str, result: dict[str, Any]):
    split = {**result["split"], "name": "leaky"}
    leaky = report_page({**result, "split": split}, LABELS, PROBABILITIES)
    warning = "SLICES OF ONE SCAN LIE IN TRAINING AND TEST"
    assert 0 < leaky.find(warning) < leaky.find("<table>")
    assert "No scan of the test part was seen" not in leaky
    assert warning not in html


def test_the_page_needs_nothing_from_elsewhere(html: str):
    sources = re.findall(r"""(?:src|href|action)\s*=\s*["']?([^"'\s>]{1,30})""", html)
    assert sources  # the pictures
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    without_pictures = re.sub(r'src="data:[^"]*"', "", html)
    assert not re.search(r"https?:|//\w|url\(|@import|<script|<link", without_pictures)


def test_the_result_is_json_even_where_a_figure_is_not_defined():
    result = result_of(30)  # no stone
    again = json.loads(json.dumps(result, allow_nan=False))
    assert again == result
    assert result["figures"]["auroc_kidney_stone"]["value"] is None
    assert result["figures"]["macro_auroc"]["value"] is not None
    assert np.array(result["confusion"]).sum() == result["slices"] == 30
    assert result["scans"] == 6
    html = report_page(result, LABELS[:30], PROBABILITIES[:30])
    assert "<td>AUROC of kidney_stone</td><td>n/a</td><td>n/a</td>" in html


def test_names_from_outside_cannot_write_into_the_page(result: dict[str, Any]):
    harmful = "<script>alert(1)</script>"
    renamed = {"data": {"name": harmful}, "model": {**result["model"], "run": harmful}}
    assert "<script" not in report_page({**result, **renamed}, LABELS, PROBABILITIES)
