"""DATA_CARD.md says what manifest, split and validation say."""

import re
from pathlib import Path

import pytest

from kidney.data.about import about
from kidney.data.data_card import data_card
from kidney.data.manifest import fingerprint, read_boundaries, read_manifest, read_rejected
from kidney.data.split import make_split
from kidney.data.validation.checks import summary
from kidney.data.validation.leakage import Leakage
from kidney.errors import DataError

OWN = {
    "near_copies": 0.0,
    "nearest_in_training": 0.125,
    "memory_accuracy": 0.25,
    "majority_accuracy": 0.26,
}
RANDOM = Leakage(0.9, 0.97, 0.99, 0.26, 4, ())
BIAS = {"title": "Contrast phase", "effect": 0.82, "accuracy": 0.54, "majority": 0.33}
FOUND = [
    {"level": "ok", "check": "fine", "says": "Nothing here."},
    {"level": "warn", "check": "phase", "says": "normal is always enhanced"},
]


def page(folder: Path, name: str = "ct_kidney", **changes) -> str:
    slices = read_manifest(folder)
    report = {
        "data": fingerprint(slices), "summary": summary(slices), "findings": FOUND,
        "confounders": [BIAS], "leakage": OWN,
    } | changes  # fmt: skip
    split = make_split("by_scan", slices, 4, 0)
    rejected, doubtful = read_rejected(folder), read_boundaries(folder)
    return data_card(name, slices, rejected, doubtful, split, report, RANDOM)


def test_it_has_the_sections_of_a_datasheet(data: Path):
    assert re.findall(r"^## (.*)$", page(data), flags=re.M) == [
        "Motivation", "Composition", "Collection", "Preprocessing and labels", "Uses",
        "Distribution", "Splits", "Known biases", "Findings of the validation", "Maintenance",
    ]  # fmt: skip


def test_counts_are_those_of_the_manifest(data: Path):
    text = page(data)
    assert "48 slices of 16 scans of 16 patients in 4 classes." in text
    assert re.search(r"\| tumor \| 12 \| 4 \| 3 / 3 / 3 \| \d \| \d \|", text)
    assert "| 64 x 48 | 48 |" in text
    assert "| stone | 1 | 1 | 1 | 1 |" in text  # scans in the four folds


def test_leaks_and_biases_are_told_beside_what_they_are_measured_by(data: Path):
    text = page(data)
    assert "copied | 25.0% | 99.0% |" in text
    assert "near copy in training | 0.0% | 97.0% |" in text
    assert "| Contrast phase | 0.82 (large) | 54% |" in text
    assert text.index("normal is always enhanced") < text.index("Nothing here.")


def test_whose_scans_they_are_is_told(data: Path):
    assert "Nobody gave patient ids" in page(data)


def test_what_no_file_says_is_of_this_set_and_said_to_be_unknown_of_another(data: Path):
    assert "No licence was found" in page(data)
    assert "Not told by the files" in page(data, name="mine")
    assert about("mine") == about("theirs") != about("phantom")


def test_the_report_of_another_manifest_is_refused(data: Path):
    with pytest.raises(DataError, match="Expected the validation of manifest"):
        page(data, data="0123")
