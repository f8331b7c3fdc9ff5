"""The page says first what matters first, escapes all names and loads nothing from elsewhere."""

import base64
import io
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kidney.data.cache import open_thumbnails
from kidney.data.manifest import fingerprint, read_boundaries, read_manifest, read_rejected
from kidney.data.scans.similarity import coordinates
from kidney.data.split import make_split, parts_in
from kidney.data.validation.checks import findings, split_findings, summary
from kidney.data.validation.confounders import confounders
from kidney.data.validation.leakage import across_labels, measure_leakage
from kidney.data.validation.report import ValidationReport, png, report_page
from kidney.files import parse_json
from tests.helpers.data_slices import CLASSES, take

LIMITS = {
    "max_rejected_share": 0.1, "max_label_conflicts": 0, "min_slices_a_class": 4,
    "max_leakage": 0.02, "max_confounding": 1.0,
}  # fmt: skip


def texts(html: str) -> list[str]:
    """List the texts of a document, one an element."""
    found: list[str] = []
    parser = HTMLParser()
    parser.handle_data = found.append  # type: ignore[method-assign]
    parser.feed(html)
    return [text for text in found if text.strip()]


def report_of(folder: Path, split_name: str | None) -> tuple[ValidationReport, str]:
    slices = read_manifest(folder)
    thumbnails = open_thumbnails(folder, slices)
    places, biases = coordinates(thumbnails), confounders(slices)
    pairs = across_labels(slices, thumbnails, places, 0.95)
    found = findings(slices, read_rejected(folder), pairs, biases, list(CLASSES), LIMITS, folds=3)
    leakage = parts = None
    if split_name:
        split = make_split(split_name, slices, 3, 0)
        leakage = measure_leakage(slices, thumbnails, places, split)
        parts = parts_in(slices, split, 0)
        found += split_findings(slices, split_name, leakage, LIMITS)
    report = ValidationReport(fingerprint(slices), summary(slices), found, biases, leakage)
    return report, report_page(
        "<i>set</i>", report, slices, thumbnails, pairs, parts, read_boundaries(folder)
    )


def page_of(folder: Path, split_name: str | None) -> str:
    return report_of(folder, split_name)[1]


@pytest.fixture
def spoilt(source: Path, tmp_path: Path) -> Path:
    shutil.copy(source / "Cyst" / "Cyst- (2).png", source / "Stone" / "Stone- (70).png")
    (source / "Tumor" / "a <b>broken (1).jpg").write_bytes(b"no picture")
    take(tmp_path / "data", source)
    return tmp_path / "data"


def test_failures_come_first_and_what_passed_last(spoilt: Path) -> None:
    text = texts(page_of(spoilt, "leaky"))
    assert "Validation of <i>set</i>" in text
    verdict = next(line for line in text if line.startswith("FAILS: "))
    assert "one picture under several labels; leakage of the split 'leaky'." in verdict
    assert "49 slices of 17 scans" in verdict
    order = [line for line in text if line in ("fail", "warn", "ok")]
    assert order == sorted(order, key=("fail", "warn", "ok").index)
    assert any("Cyst/Cyst- (2).png" in line and "Stone/Stone- (70).png" in line for line in text)


def test_the_report_comes_back_from_json(spoilt: Path) -> None:
    report, _ = report_of(spoilt, "leaky")
    assert parse_json(ValidationReport, report.to_json()) == report
    assert [finding.check for finding in report.failed()] == [
        "one picture under several labels", "leakage of the split 'leaky'"
    ]  # fmt: skip


def test_numbers_are_shown_as_charts_with_words(data: Path) -> None:
    charts = re.findall(r'<svg class="chart" role="img" aria-label="([^"]*)"', page_of(data, None))
    assert charts
    assert all(chart == "cyst: 4 values; normal: 4 values; stone: 4 values; tumor: 4 values"
               for chart in charts)  # fmt: skip


def test_names_are_escaped_and_nothing_is_loaded(spoilt: Path) -> None:
    html = page_of(spoilt, "leaky")
    assert any(line.startswith("Expected Tumor/a <b>broken (1).jpg") for line in texts(html))
    assert "<b>broken" not in html
    assert "<i>" not in html
    assert "http" not in html
    assert not re.search(r'src="(?!data:image/png;base64,)', html)


def test_each_class_is_shown_with_a_slice_a_scan(data: Path) -> None:
    html = page_of(data, "by_patient")
    pictures = re.findall(
        r'alt="(\w+): the middle slice of 4 scans" src="data:[^,]*,([^"]*)"', html
    )
    assert [label for label, _ in pictures] == sorted(CLASSES)
    slices = read_manifest(data)
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(pictures[2][1]))))
    assert sheet.shape == (96, 4 * 96)
    (first,) = np.flatnonzero(slices["path"] == "Stone/Stone- (2).png")
    np.testing.assert_array_equal(sheet[:, :96], open_thumbnails(data, slices)[first])


def test_parts_are_counted_in_patients(data: Path) -> None:
    text = texts(page_of(data, "by_patient"))
    row = text.index("cyst", text.index("patients in training"))
    assert text[row + 1 : row + 3] == ["12", "4"]
    assert sum(map(int, text[row + 5 : row + 8])) == 4


def test_a_set_that_cannot_be_dealt_has_a_page_too(data: Path) -> None:
    assert "No test slice has a near copy." in page_of(data, None)


def test_doubtful_scans_are_shown_with_both_slices(data: Path) -> None:
    doubtful = read_boundaries(data)
    assert len(doubtful) > 4
    text = texts(page_of(data, "by_patient"))
    first = doubtful.iloc[0]
    row = text.index(first.before, text.index("confidence"))
    assert text[row + 1] == first.after
    assert text[row - 3] == first.decision


def test_what_all_paths_begin_with_is_left_out_and_pictures_stay_whole(
    source: Path, tmp_path: Path
) -> None:
    (tmp_path / "deep" / "image").mkdir(parents=True)
    source.rename(tmp_path / "deep" / "image" / "png")
    take(tmp_path / "data", tmp_path / "deep")
    html = page_of(tmp_path / "data", "leaky")
    assert "image/png/Cyst" not in html
    assert "Cyst/Cyst- (" in html
    for data in re.findall(r'src="data:image/png;base64,([^"]*)"', html):
        Image.open(io.BytesIO(base64.b64decode(data))).load()


def test_a_picture_is_encoded_as_it_is() -> None:
    grey = np.arange(96 * 96, dtype=np.uint32).reshape(96, 96).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(grey)))), grey)
