"""Ingest and validation through the real commands, on real slices and on DICOM files."""

import json
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest


@pytest.fixture(scope="module")
def ingested(make_checkout, shared):
    """A checkout after ingest of the mini set."""
    checkout = make_checkout()
    source = f"data.source={shared / 'data/ct-kidney-mini.zip'}"
    checkout.run(sys.executable, "scripts/ingest.py", source)
    return checkout


def test_a_leaky_split_fails_validation_and_the_message_says_why(ingested):
    command = [sys.executable, "scripts/validate.py", "split.folds=5", "split=leaky"]
    done = ingested.run(*command, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "of the test slices have a near copy in training" in done.stderr
    assert "Use split=by_patient" in done.stderr
    report = json.loads((ingested.folder / "data/ct_kidney/validation.json").read_text())
    assert report["leakage"]["near_copies"] > 0.5
    assert report["leakage"]["memory_accuracy"] > 0.95


def test_a_split_by_patient_passes_and_the_page_names_the_phase_first(ingested):
    out = ingested.run(sys.executable, "scripts/validate.py", "split.folds=4").stdout
    assert "the split 'by_patient' pass validation" in out
    page = (ingested.folder / "data/ct_kidney/validation.html").read_text()
    first = page[page.index("Read this first") : page.index("What else predicts the label")]
    assert "Contrast phase against label" in first
    assert "normal is always enhanced (5 of 5 scans)" in first
    report = json.loads((ingested.folder / "data/ct_kidney/validation.json").read_text())
    assert report["leakage"]["near_copies"] == 0
    assert report["leakage"]["memory_accuracy"] < 0.8


def test_a_real_dicom_series_is_ingested_with_labels_from_a_table(make_checkout, shared):
    checkout = make_checkout()
    archive = shared / "data/ct-dicom-series.zip"
    with zipfile.ZipFile(archive) as packed:
        folder = Path(next(name for name in packed.namelist() if not name.endswith("/"))).parent
    (checkout.folder / "labels.csv").write_text(f"path,label\n{folder},normal\n")
    out = checkout.run(
        sys.executable, "scripts/ingest.py", "data=dicom", f"data.source={archive}",
        "data.labels=labels.csv",
    ).stdout  # fmt: skip
    assert "20 slices of 1 scans" in out
    slices = pd.read_csv(checkout.folder / "data/dicom/manifest.csv")
    assert set(slices["label"]) == {"normal"}
    assert set(slices["window"]) == {"400/40"}
    assert set(slices["plane"]) == {"axial"}
    refused = checkout.run(sys.executable, "scripts/validate.py", "data=dicom", check=False)
    assert "enough of cyst: 0 slices" in refused.stderr
