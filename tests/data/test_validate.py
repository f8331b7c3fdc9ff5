"""Validation finds what is wrong with a set, and its report says so in numbers."""

import io
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kidney.data.cache import open_cache
from kidney.data.manifest import REJECTED_COLUMNS, read_manifest, read_rejected
from kidney.data.scans import THUMBNAIL_SIDE, thumbnail
from kidney.data.validate import Finding, contact_sheet, findings, report_page, summary
from tests.data.slices import CLASSES, manifest_of, take

LIMITS = {"max_rejected_share": 0.1, "max_label_conflicts": 0, "min_slices_a_class": 4}
GOOD = manifest_of({"cyst": [2, 3], "stone": [2, 2]})
TITLES = ["files that are no usable slices", "one picture under several labels",
          "exact duplicates", "enough of cyst", "enough of stone"]  # fmt: skip


def found_in(slices: pd.DataFrame, refused: int = 0, **limits: float) -> dict[str, Finding]:
    rows = [(f"Cyst/{n}.png", f"Cyst/{n}.png is empty (0 bytes).") for n in range(refused)]
    rejected = pd.DataFrame(rows, columns=REJECTED_COLUMNS)
    found = findings(slices, rejected, ["cyst", "stone"], LIMITS | limits, folds=2)
    return {finding["check"]: finding for finding in found}


def test_a_good_set_passes_every_check() -> None:
    found = found_in(GOOD)
    assert list(found) == TITLES
    assert {finding["level"] for finding in found.values()} == {"ok"}


@pytest.mark.parametrize(("refused", "level"), [(0, "ok"), (1, "warn"), (2, "fail")])
def test_refused_files_fail_above_their_share(refused: int, level: str) -> None:
    found = found_in(GOOD, refused)[TITLES[0]]  # 9 slices, so one refused file is a share of 0.1
    assert (found["level"], found["count"]) == (level, refused)
    assert found["examples"] == [f"Cyst/{n}.png is empty (0 bytes)." for n in range(refused)]


@pytest.mark.parametrize(("allowed", "level"), [(0, "fail"), (1, "warn")])
def test_one_picture_under_two_labels_fails_above_its_limit(allowed: int, level: str) -> None:
    slices = GOOD.copy()
    slices.loc[8, "sha256"] = slices.loc[0, "sha256"]
    found = found_in(slices, max_label_conflicts=allowed)[TITLES[1]]
    assert (found["level"], found["count"]) == (level, 1)
    assert found["examples"] == [slices.loc[0, "path"], slices.loc[8, "path"]]


def test_copies_are_reported_and_pass() -> None:
    slices = GOOD.copy()
    slices.loc[1, "sha256"] = slices.loc[0, "sha256"]
    found = found_in(slices)
    assert (found[TITLES[2]]["level"], found[TITLES[2]]["count"]) == ("warn", 1)
    assert found[TITLES[2]]["examples"] == [slices.loc[1, "path"]]
    assert found[TITLES[1]]["level"] == "ok"


@pytest.mark.parametrize("sizes", [[3], [1, 2], [4], []])
def test_a_class_with_too_few_slices_or_scans_fails(sizes: list[int]) -> None:
    found = found_in(manifest_of({"cyst": [2, 3], "stone": sizes}))
    assert found["enough of cyst"]["level"] == "ok"
    assert (found["enough of stone"]["level"], found["enough of stone"]["count"]) == (
        "fail",
        sum(sizes),
    )


def test_the_summary_counts_slices_scans_and_sizes() -> None:
    slices = GOOD.copy()
    slices.loc[0, ["width", "height"]] = 512, 256
    assert summary(slices) == {
        "slices": 9,
        "scans": 4,
        "classes": {"cyst": {"slices": 5, "scans": 2}, "stone": {"slices": 4, "scans": 2}},
        "sizes": {"64 x 48": 8, "512 x 256": 1},
    }


def test_a_contact_sheet_shows_the_middle_slice_of_each_scan(data: Path) -> None:
    slices = read_manifest(data)
    cache = open_cache(data, slices)
    sheet = np.asarray(Image.open(io.BytesIO(contact_sheet(cache, slices, "stone", count=3))))
    assert sheet.shape == (THUMBNAIL_SIDE, 3 * THUMBNAIL_SIDE)
    (first,) = np.flatnonzero(slices["path"] == "Stone/Stone- (2).png")
    np.testing.assert_array_equal(sheet[:, :THUMBNAIL_SIDE], thumbnail(cache[first]))


def texts(html: str) -> list[str]:
    """List the texts of a document, one an element."""
    found: list[str] = []
    parser = HTMLParser()
    parser.handle_data = found.append  # type: ignore[method-assign]
    parser.feed(html)
    return found


def test_the_report_names_what_was_found_and_loads_nothing(source: Path, tmp_path: Path) -> None:
    shutil.copy(source / "Cyst" / "Cyst- (2).png", source / "Stone" / "Stone- (70).png")
    (source / "Tumor" / "a <b>broken (1).jpg").write_bytes(b"no picture")
    folder = tmp_path / "data"
    take(folder, source)
    slices = read_manifest(folder)
    found = findings(slices, read_rejected(folder), list(CLASSES), LIMITS, folds=3)
    sheets = {"cyst": contact_sheet(open_cache(folder, slices), slices, "cyst")}
    html = report_page("<i>set</i>", summary(slices), found, sheets)
    text = texts(html)
    assert "Validation of <i>set</i>" in text
    assert any(line.startswith("1 checks failed. 49 slices of 17 scans.") for line in text)
    assert "1 pictures have more than one label." in text
    assert "Cyst/Cyst- (2).png; Stone/Stone- (70).png" in text
    assert any(line.startswith("Expected Tumor/a <b>broken (1).jpg") for line in text)
    assert text[text.index("stone") :][:3] == ["stone", "13", "5"]
    assert [text.count(level) for level in ("ok", "warn", "fail")] == [4, 2, 1]
    assert "<b>" not in html
    assert "<i>" not in html
    assert "http" not in html
    assert "src" not in html.replace('src="data:image/png;base64,', "")
