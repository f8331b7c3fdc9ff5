"""The table of targets: how a cross-validated lesion model does, by source, with intervals.

All figures are of patients that neither network nor head has seen. Where a figure was used to
choose something, the finder's thresholds for one, it flatters a little, and the row says so.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kidney.artifact.decision import Rules, decide
from kidney.data.lesions.records import CHANNELS
from kidney.evaluation.metrics.bootstrap import Interval, patient_intervals
from kidney.evaluation.metrics.calibration import calibration_line, expected_calibration_error
from kidney.evaluation.metrics.classification import auroc, figures, group_weights
from kidney.evaluation.metrics.lesions import (
    coverage,
    dice,
    found_kidneys,
    peak_on,
    peak_pixel,
    series_score,
    slice_score,
)
from kidney.models.lesion_classifier import LESIONS
from kidney.training.lesion_predictions import LesionPredictions

KIDNEY, TUMOR, CYST, STONE = range(len(CHANNELS))  # channels of what is drawn
_LEAST_AREA = 4.0  # places: less drawn kidney or tumour is the end of one
_LEAST_SHARE = 0.25  # of a place that is drawn, for a peak to lie on it
_BOX_MARGIN = 2  # pixels around the box of a mass, which was drawn by eye
_LARGE_CM = 3.0
_SENSITIVITY, _SPECIFICITY = 0.9, 0.8


@dataclass(frozen=True)
class Row:
    """One line of the table; `value` has its interval in it where there is one."""

    target: str
    figure: str
    value: str
    wanted: str


def class_rows(
    probabilities: NDArray[np.floating],
    labels: NDArray[np.int64],
    patients: NDArray[np.str_],
    ood_scores: NDArray[np.floating],
    rules: Rules,
    classes: Sequence[str],
) -> list[Row]:
    """Return targets 1, 2, 3 and 8, of slices with a class label.

    Args:
        probabilities: float (N, K), calibrated, cross-validated.
        labels: int64 (N,).
        patients: (N,).
        ood_scores: float (N,).
        rules: fitted to these predictions, each patient's by models without the patient.
        classes: K names.
    """
    decisions = [
        decide(row, classes, rules, float(score))
        for row, score in zip(probabilities, ood_scores, strict=True)
    ]
    stands = np.array([one.outcome in classes for one in decisions])
    right = probabilities.argmax(axis=1) == labels
    sets = np.array([[name in one.prediction_set for name in classes] for one in decisions])
    tumor = classes.index("tumor")

    def of_rows(rows: NDArray[np.int64]) -> dict[str, float]:
        own, stand = labels[rows], stands[rows]
        found = figures(own, probabilities[rows], classes)
        wrong = stand & ~right[rows]
        return {
            "macro AUROC": found["macro_auroc"],
            "tumour AUROC": found["auroc_tumor"],
            "tumour recall": found["recall_tumor"],
            "balanced accuracy": found["balanced_accuracy"],
            "tumour slices that stand wrong": _mean(wrong[own == tumor]),
            "answers that stand": _mean(stand),
            "their accuracy": _mean(right[rows][stand]),
            **{
                f"coverage of the sets, {name}": _mean(sets[rows][own == k, k])
                for k, name in enumerate(classes)
            },
        }

    values = patient_intervals(of_rows, patients, labels)
    p_tumor, is_tumor = probabilities[:, tumor], labels == tumor
    confidence = np.maximum(p_tumor, 1 - p_tumor)
    error = expected_calibration_error(confidence, (p_tumor >= 0.5) == is_tumor)
    slope = calibration_line(p_tumor, is_tumor, group_weights(patients))[0]
    wanted = {
        "macro AUROC": ("1", ">= 0.97"), "tumour AUROC": ("1", ">= 0.97"),
        "tumour recall": ("2", ">= 0.80"), "balanced accuracy": ("2", ">= 0.85"),
        "tumour slices that stand wrong": ("3", "<= 0.01"), "answers that stand": ("3", ">= 0.60"),
        "their accuracy": ("3", ">= 0.95"),
    }  # fmt: skip
    rows = []
    for name, value in values.items():
        target, want = wanted.get(name, ("8", "0.88 to 0.94"))
        rows.append(Row(target, name, _shown(value), want))
    return [
        *rows,
        Row("8", "ECE of P(tumour)", f"{error:.3f}", "near chance"),
        Row("8", "calibration slope of P(tumour)", f"{slope:.2f}", "0.80 to 1.25"),
    ]


def mask_rows(
    predictions: LesionPredictions, suspected: NDArray[np.bool_], tumor_source: str = "kits"
) -> list[Row]:
    """Return targets 4, 4b and 5, of slices with masks and of kidney-free ones.

    Args:
        predictions: N slices.
        suspected: bool (N,), whether a tumour cannot be excluded on the slice.
        tumor_source: whose tumours are drawn.
    """
    n = len(predictions.records)
    drawn = predictions.drawn.astype(np.float32) / 255
    found = np.stack([found_kidneys(row.astype(np.float32)) for row in predictions.kidney])
    area = drawn.sum(axis=(2, 3))
    everywhere = np.array([one.known[KIDNEY] == "all" for one in predictions.records])
    healthy = drawn[:, KIDNEY] - drawn[:, 1:].sum(axis=1)
    has_tumor = (predictions.sources == tumor_source) & (
        drawn[:, TUMOR].max(axis=(1, 2)) > _LEAST_SHARE
    )
    has_stone = drawn[:, STONE].max(axis=(1, 2)) > 0
    free = everywhere & (area[:, KIDNEY] == 0)
    nan = np.full(n, np.nan)

    def measure(rows: NDArray[np.bool_], of_row: Callable[[int], float]) -> NDArray[np.float64]:
        values = nan.copy()
        for row in np.flatnonzero(rows):
            values[row] = of_row(int(row))
        return values

    lesions = predictions.lesions.astype(np.float32)
    tumor, stone = LESIONS.index("tumor"), LESIONS.index("stone")
    drawn_kidney = everywhere & (healthy.sum(axis=(1, 2)) > _LEAST_AREA)
    measured = [
        ("4", "peak of the tumour map in the tumour", ">= 0.80",
         measure(has_tumor, lambda r: peak_on(lesions[r, tumor], drawn[r, TUMOR], _LEAST_SHARE))),
        ("4", "tumour suspected", ">= 0.95", measure(has_tumor, lambda r: float(suspected[r]))),
        ("4b", "area of the kidney covered", ">= 0.90",
         measure(drawn_kidney, lambda r: coverage(found[r], healthy[r]))),
        ("4b", "area of the tumour covered", ">= 0.85",
         measure(has_tumor, lambda r: coverage(found[r], drawn[r, TUMOR]))),
        ("4b", "Dice of kidneys with lesions", "",
         measure(drawn_kidney, lambda r: dice(found[r], drawn[r, KIDNEY]))),
        ("4b", "kidney-free slices without a find", ">= 0.95",
         measure(free, lambda r: float(not found[r].any()))),
        ("5", "peak of the stone map within a place of the stone", ">= 0.80",
         measure(has_stone, lambda r: peak_on(lesions[r, stone], drawn[r, STONE], 1e-3, 1))),
    ]  # fmt: skip
    rows = []
    for target, name, wanted, values in measured:
        for source in sorted(set(predictions.sources[~np.isnan(values)])):
            own = (predictions.sources == source) & ~np.isnan(values)
            shown = _of_patients(values[own], predictions.patients[own])
            rows.append(Row(target, f"{name}, {source}", shown, wanted))
    return rows


def source_rows(
    predictions: LesionPredictions, ill: str = "kits", healthy: str = "curvas"
) -> list[Row]:
    """Return target 6: tumours of one source against kidneys of another.

    Args:
        predictions: by a network that was trained without both sources.
        ill: name of the source of tumours.
        healthy: name of the source of kidneys without.
    """
    drawn = predictions.drawn.astype(np.float32) / 255
    tumors = (predictions.sources == ill) & (drawn[:, TUMOR].sum(axis=(1, 2)) > 1)
    kidneys = (predictions.sources == healthy) & (drawn[:, KIDNEY].sum(axis=(1, 2)) > _LEAST_AREA)
    used = np.flatnonzero(tumors | kidneys)
    if not (tumors.any() and kidneys.any()):
        return []
    scores, positive = tumor_scores(predictions.of(used)), tumors[used]
    patients = predictions.patients[used]

    def of_rows(rows: NDArray[np.int64]) -> dict[str, float]:
        own, has = scores[rows], positive[rows]
        threshold = np.quantile(own[has], 1 - _SENSITIVITY) if has.any() else np.nan
        return {"auroc": auroc(has, own), "suspected": _mean(own[~has] >= threshold)}

    found = patient_intervals(of_rows, patients, positive.astype(np.int64))
    text = f"{ill} tumours against {healthy} kidneys"
    return [
        Row("6", f"{text}, AUROC", _shown(found["auroc"]), ">= 0.90"),
        Row("6", f"{healthy} slices suspected at 90 % sensitivity", _shown(found["suspected"]),
            "<= 0.20"),
    ]  # fmt: skip


def series_rows(
    predictions: LesionPredictions, annotation: pd.DataFrame, findings: pd.DataFrame
) -> list[Row]:
    """Return target 7, of whole series.

    Args:
        predictions: all slices of the series, paths PATIENT/NUMBER.jpg.
        annotation: a row a slice with patient, slice, series, mass_box (top;left;bottom;right).
        findings: a row a patient with patient, mass (0 or 1) and findings, a text.
    """
    table = _series_table(predictions, annotation)
    scores = table.groupby(["patient", "series"])["score"].agg(
        lambda own: series_score(own.to_numpy())
    )
    of_patient = scores.groupby("patient").max()
    known = findings.set_index("patient").join(of_patient.rename("score"), how="inner")
    mass = known["mass"].to_numpy() == 1
    score = known["score"].to_numpy(np.float64)
    large = mass & (known["findings"].map(largest_cm).to_numpy() >= _LARGE_CM)
    if not large.any() or mass.all():
        return []
    names = known.index.to_numpy().astype(np.str_)
    area = patient_intervals(
        lambda rows: {"auroc": auroc(mass[rows], score[rows])}, names, mass.astype(np.int64)
    )["auroc"]
    threshold = score[large].min()
    on_mass = table.dropna(subset=["hit"]).groupby("patient")["hit"].mean()
    shown = ", ".join(f"{name} {share:.2f}" for name, share in on_mass.items())
    return [
        Row("7", f"AUROC of a mass, {len(known)} patients", _shown(area), ">= 0.90"),
        Row("7", f"patients without a mass flagged, all {large.sum()} masses >= 3 cm flagged",
            f"{(score[~mass] >= threshold).mean():.3f}", "<= 0.20"),
        Row("7", "slices of a mass with the peak on it, by patient", shown, "all"),
    ]  # fmt: skip


def tumor_scores(predictions: LesionPredictions) -> NDArray[np.float64]:
    """Return the score of a tumour on each slice, (N,)."""
    maps = zip(predictions.kidney, predictions.lesions[:, LESIONS.index("tumor")], strict=True)
    return np.array([slice_score(k.astype(np.float32), t.astype(np.float32)) for k, t in maps])


def largest_cm(text: str) -> float:
    """Return the largest length in cm that a report names; infinity where it names none."""
    found = re.findall(r"([\d.]+(?:\s*x\s*[\d.]+)*)\s*cm", str(text))
    first = [float(number) for number in re.findall(r"[\d.]+\d|\d", found[0])] if found else []
    return max(first, default=float("inf"))


def markdown_table(rows: Sequence[Row]) -> str:
    """Return the rows as a table in Markdown."""
    lines = ["| # | figure | value | target |", "|---|---|---|---|"]
    lines += [f"| {one.target} | {one.figure} | {one.value} | {one.wanted} |" for one in rows]
    return "\n".join(lines) + "\n"


def _series_table(predictions: LesionPredictions, annotation: pd.DataFrame) -> pd.DataFrame:
    """Return a row a slice, in the order of the series: patient, series, score, hit (NaN: none)."""
    marks: Mapping[tuple[str, int], pd.Series] = {
        (str(row["patient"]), int(row["slice"])): row for _, row in annotation.iterrows()
    }
    scores = tumor_scores(predictions)
    rows = []
    for number, record in enumerate(predictions.records):
        patient, _, name = record.path.partition("/")
        slice_ = int(name.split(".")[0])
        mark = marks.get((patient, slice_))
        box = "" if mark is None or pd.isna(mark["mass_box"]) else str(mark["mass_box"])
        hit = np.nan
        if box:
            tumor = predictions.lesions[number, LESIONS.index("tumor")].astype(np.float32)
            row, column = peak_pixel(tumor, predictions.regions[number])
            top, left, bottom, right = map(float, box.split(";"))
            inside = top - _BOX_MARGIN <= row <= bottom + _BOX_MARGIN
            hit = float(inside and left - _BOX_MARGIN <= column <= right + _BOX_MARGIN)
        series = 1 if mark is None else int(mark["series"])
        rows.append((patient, series, slice_, scores[number], hit))
    table = pd.DataFrame(rows, columns=["patient", "series", "slice", "score", "hit"])
    return table.sort_values(["patient", "series", "slice"])


def _of_patients(values: NDArray[np.float64], patients: NDArray[np.str_]) -> str:
    """Return the mean over slices with its interval over patients, and how many there are."""
    found = patient_intervals(
        lambda rows: {"mean": float(values[rows].mean())}, patients, np.zeros(len(values), np.int64)
    )["mean"]
    return f"{_shown(found)}, {len(values)} slices, {len(set(patients))} patients"


def _shown(value: Interval) -> str:
    if value["value"] is None:
        return "not defined"
    if value["low"] is None or value["high"] is None:
        return f"{value['value']:.3f}"
    return f"{value['value']:.3f} [{value['low']:.2f}, {value['high']:.2f}]"


def _mean(values: NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else float("nan")
