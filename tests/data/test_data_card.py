"""DATA_CARD.md shows what manifest, split and validation hold."""

import dataclasses
import re
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard

from kidney.data.data_card import data_card
from kidney.data.manifest import fingerprint, read_boundaries, read_manifest, read_rejected
from kidney.data.split import make_split
from kidney.data.validation.checks import Finding, summary
from kidney.data.validation.confounders import Confounder
from kidney.data.validation.leakage import Leakage
from kidney.data.validation.report import ValidationReport
from kidney.errors import DataError

OWN = Leakage(0.125, 0.0, 0.25, 0.26, 0, ())
RANDOM = Leakage(0.9, 0.97, 0.99, 0.26, 4, ())
BIAS = Confounder("phase", "Contrast phase", 0.82, 0.54, 0.33, {"normal": {"plain": 1}}, {})
FOUND = [
    Finding("fine", "ok", 0, "Nothing here.", ""),
    Finding("phase", "warn", 0, "normal is always enhanced", ""),
]


def page(folder: Path, name: str = "ct_kidney", **changes) -> str:
    slices = read_manifest(folder)
    report = ValidationReport(fingerprint(slices), summary(slices), FOUND, [BIAS], OWN)
    report = dataclasses.replace(report, **changes)
    split = make_split("by_patient", slices, 4, 0)
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


def test_leaks_and_biases_are_shown_beside_what_they_are_measured_by(data: Path):
    text = page(data)
    assert "copied | 25.0% | 99.0% |" in text
    assert "near copy in training | 0.0% | 97.0% |" in text
    assert "| Contrast phase | 0.82 (large) | 54% |" in text
    assert text.index("normal is always enhanced") < text.index("Nothing here.")


def test_it_is_named_whose_scans_they_are(data: Path):
    assert "The files name no patients" in page(data)


def test_what_no_file_says_is_of_this_set_and_unknown_of_another(data: Path):
    assert "No licence was found" in page(data)
    assert "Nobody is in it." in page(data, "phantom")
    assert "The files name no terms." in page(data, "mine")


def test_the_hub_reads_what_it_is(data: Path):
    metadata = DatasetCard(page(data)).data
    assert (metadata.pretty_name, metadata.size_categories) == ("ct_kidney", ["n<1K"])
    assert metadata.task_categories == ["image-classification"]


@pytest.mark.parametrize("changes", [{"data": "0123"}, {"leakage": None}])
def test_the_report_of_another_manifest_or_of_no_split_is_refused(data: Path, changes):
    with pytest.raises(DataError, match="Expected the validation of manifest"):
        page(data, **changes)
