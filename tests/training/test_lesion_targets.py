import numpy as np
import pandas as pd
import pytest

from kidney.artifact.decision import Rules
from kidney.data.lesions.records import SliceRecord
from kidney.training.lesion_predictions import LesionPredictions
from kidney.training.lesion_series import fit_series_rules, patient_scores, whole_series
from kidney.training.lesion_targets import (
    class_rows,
    largest_cm,
    markdown_table,
    mask_rows,
    peak_rows,
    series_rows,
    source_rows,
)

SIDE = 16
CLASSES = ("normal", "cyst", "tumor", "stone")


def predictions(records: list[SliceRecord], right: list[bool]) -> LesionPredictions:
    """Slices with a kidney in the upper left; a tumour in kits, found where `right`."""
    n = len(records)
    kidney = np.full((n, SIDE, SIDE), -6, np.float16)
    lesions = np.full((n, 3, SIDE, SIDE), -16, np.float16)
    drawn = np.zeros((n, 4, SIDE, SIDE), np.uint8)
    embeddings = np.zeros((n, 8), np.float32)
    for row, (record, is_right) in enumerate(zip(records, right, strict=True)):
        if record.pool != "free":
            drawn[row, 0, :6, :6] = 255
            kidney[row, :6, :6] = 4
        if record.pool == "tumor":
            drawn[row, 1, :3, :3] = 255
        place = (1, 1) if is_right else (5, 5)
        strength = 5 if record.pool in ("tumor", "unlabelled") and is_right else -2
        lesions[row, :, place[0], place[1]] = strength
        lesions[row, :, :6, :6] += np.float16(0.5)
        embeddings[row, 0] = strength
    return LesionPredictions(
        records,
        np.full((n, 2), 64, np.int32),
        np.zeros((n, 96, 96), np.uint8),
        np.tile(np.array([0, 0, 64, 64], np.float32), (n, 1)),
        embeddings,
        kidney,
        lesions,
        drawn,
    )


def records(source: str, pools: list[str]) -> list[SliceRecord]:
    return [
        SliceRecord(source, pool, f"{source}-{n}", f"p{n:03d}/000.jpg", "picture")
        for n, pool in enumerate(pools)
    ]


def values(rows: list) -> dict[str, float]:
    return {row.figure: float(row.value.split()[0]) for row in rows if row.value[:1].isdigit()}


def test_masks_give_peaks_coverage_and_kidney_free_slices():
    own = [*records("kits", ["tumor"] * 6), *records("curvas", ["kidney"] * 5 + ["free"] * 5)]
    found = predictions(own, [True] * 3 + [False] * 3 + [True] * 10)
    rows = values(mask_rows(found, np.arange(16) < 4))
    assert rows["peak of the tumour map in the tumour, kits"] == 0.5
    assert rows["tumour suspected, kits"] == pytest.approx(0.667)
    assert rows["area of the tumour covered, kits"] == 1
    assert rows["area of the kidney covered, curvas"] == 1
    assert rows["kidney-free slices without a find, curvas"] == 1
    assert not any("stone" in name for name in rows)


def test_tumours_of_one_source_stand_against_kidneys_of_another():
    own = [*records("kits", ["tumor"] * 6), *records("curvas", ["kidney"] * 6)]
    rows = values(source_rows(predictions(own, [True] * 6 + [True] * 6)))
    assert rows["kits tumours against curvas kidneys, AUROC"] == 1
    assert rows["curvas slices suspected at 90 % sensitivity"] == 0
    assert source_rows(predictions(own[:6], [True] * 6)) == []


def test_series_are_ranked_and_the_peak_has_to_lie_on_the_mass():
    own = records("kauh", ["unlabelled"] * 8)
    found = predictions(own, [True, True, *[False] * 6])
    shown = np.tile(np.array([[0.9], [0.8], *[[0.2]] * 6]), 3)
    annotation = pd.DataFrame(
        {
            "patient": [f"p{n:03d}" for n in range(8)],
            "slice": 0,
            "series": 1,
            "mass_box": ["0;0;10;10", "40;40;60;60", *[None] * 6],
        }
    )
    reports = pd.DataFrame(
        {
            "patient": annotation["patient"],
            "mass": [1, 1, *[0] * 6],
            "cyst": [0, 1, *[0] * 6],
            "stone": 0,
            "findings": ["mass of 4.6 x 4 cm", "lesion of 1 cm", *["none"] * 6],
        }
    )
    series = whole_series(found, "kauh", annotation, reports)
    fitted = fit_series_rules(series, shown, sensitivity=0.6)
    assert set(fitted) == {"tumor", "cyst"}
    assert fitted["tumor"].threshold == pytest.approx(0.5)
    rules = Rules(0.5, {}, {}, None, {"tumor": 0.85, "cyst": 0.85})
    rows = {row.figure: row.value for row in series_rows(series, shown, rules, reports)}
    assert rows["AUROC of a series' tumor, 2 of 8 patients have one"].startswith("1.000")
    assert rows["patients with tumor flagged"] == "1 of 2"
    assert rows["patients with a mass of 3 cm and more flagged"] == "1 of 1"
    assert rows["patients without tumor flagged"] == "0 of 6"
    (row,) = peak_rows(found, annotation)
    assert row.value == "p000 1.00, p001 0.00"


def test_series_are_in_anatomical_order_and_scored_by_patient():
    own = [
        SliceRecord("kauh", "unlabelled", "kauh-p1", f"p1/{n:03d}.jpg", "picture")
        for n in (5, 0, 4, 1, 3, 2)
    ]
    found = predictions(own, [False] * 6)
    order = pd.DataFrame({"patient": "p1", "slice": range(6), "series": [1, 1, 1, 2, 2, 2]})
    report = pd.DataFrame({"patient": ["p1"], "mass": [1], "cyst": [0], "stone": [0]})
    first, second = whole_series(found, "kauh", order, report)
    assert [own[row].path[-5] for row in first.rows] == list("012")
    shown = np.zeros((6, 3))
    shown[second.rows, 0] = 0.6
    names, scores, has = patient_scores([first, second], shown, "tumor")
    assert (names.tolist(), scores.tolist(), has.tolist()) == (["p1"], [pytest.approx(0.6)], [True])


@pytest.mark.parametrize(
    ("text", "size"),
    [("AML 4.6 x 4 cm, upper pole", 4.6), ("RCC 4.2 x 6 x 5.7 cm, cyst 2 cm", 6), ("AML 1 cm", 1)],
)
def test_the_size_of_a_mass_is_read_from_the_report(text: str, size: float):
    assert largest_cm(text) == size
    assert largest_cm("a lesion with fat") == float("inf")


def test_classes_have_all_figures():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 30)
    patients = np.array([f"{label}-{n % 6}" for n, label in enumerate(labels)])
    logits = rng.normal(size=(120, 4)) + 3 * np.eye(4)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    rules = Rules(0.6, dict.fromkeys(CLASSES[1:], 0.2), dict.fromkeys(CLASSES, 0.1), None)
    rows = class_rows(probabilities, labels, patients, np.zeros(120), rules, CLASSES)
    assert {row.target for row in rows} == {"1", "2", "3", "8"}
    assert values(rows)["macro AUROC"] > 0.9
    assert markdown_table(rows).count("\n") == len(rows) + 2
