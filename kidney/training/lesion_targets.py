"""The table of targets: how a cross-validated lesion model does, by source, with intervals.

All figures are of patients that neither network nor head has seen. Where a figure was used to
choose something, the finder's thresholds for one, it flatters a little, and the row says so.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kidney.artifact.decision import Rules, decide
from kidney.artifact.reader import read_artifact
from kidney.artifact.sites import peak
from kidney.data.lesions.records import CHANNELS
from kidney.data.lesions.store import SliceStore
from kidney.evaluation.metrics.bootstrap import Interval, patient_intervals
from kidney.evaluation.metrics.calibration import calibration_line, expected_calibration_error
from kidney.evaluation.metrics.classification import (
    auroc,
    figures,
    group_weights,
    predictive_values,
    sensitivity_of,
    specificity_of,
)
from kidney.evaluation.metrics.lesions import (
    coverage,
    dice,
    found_kidneys,
    peak_on,
)
from kidney.models.lesion_classifier import LESIONS
from kidney.training.lesion_predictions import LesionPredictions
from kidney.training.lesion_series import WholeSeries, patient_scores

KIDNEY, TUMOR, CYST, STONE = range(len(CHANNELS))  # channels of what is drawn
_LEAST_AREA = 4.0  # places: less drawn kidney or tumour is the end of one
_LEAST_SHARE = 0.25  # of a place that is drawn, for a peak to lie on it
_BOX_MARGIN = 2  # pixels around the box of a mass, which was drawn by eye
_LARGE_CM = 3.0
_SENSITIVITY = 0.9
_PREVALENCES = (0.003, 0.01, 0.05)


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
    suspected = p_tumor >= rules.suspect_from["tumor"]
    found = sensitivity_of(p_tumor[is_tumor], rules.suspect_from["tumor"])
    spared = specificity_of(p_tumor[~is_tumor], rules.suspect_from["tumor"])
    for prevalence in _PREVALENCES:
        positive, negative = predictive_values(found, spared, prevalence)
        rows.append(
            Row("8", f"a slice suspected of a tumour, where {prevalence:.1%} of slices show one",
                f"PPV {positive:.3f}, NPV {negative:.4f}", "")
        )  # fmt: skip
    return [
        *rows,
        Row(
            "8",
            "slices suspected of a tumour that show none",
            f"{_mean(suspected[~is_tumor]):.3f}",
            "",
        ),
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
    hit = measure(has_tumor, lambda r: peak_on(lesions[r, tumor], drawn[r, TUMOR], _LEAST_SHARE))
    size = drawn[:, TUMOR].sum(axis=(1, 2))
    small = has_tumor & (size < np.median(size[has_tumor])) if has_tumor.any() else has_tumor
    measured = [
        ("4", "peak of the tumour map in the tumour", ">= 0.80",
         hit),
        ("4", "the same, the smaller half of the tumours", "", np.where(small, hit, np.nan)),
        ("4", "the same, at any place of the drawn kidneys (chance)", "",
         measure(has_tumor, lambda r: float(drawn[r, TUMOR].sum() / drawn[r, KIDNEY].sum()))),
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
    scores, positive = predictions.values[used, LESIONS.index("tumor")], tumors[used]
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
    series: Sequence[WholeSeries],
    shown: NDArray[np.floating],
    rules: Rules,
    reports: pd.DataFrame,
) -> list[Row]:
    """Return the figures of whole series, by the scores and thresholds that are served.

    Args:
        series: of slices that networks have not seen with a label.
        shown: float (N, 3), the probability of each of LESIONS on each slice.
        rules: with thresholds for series, fitted to these very series.
        reports: a row a patient with patient and findings, a text.
    """
    text = reports.set_index("patient")["findings"]
    rows = []
    for name in LESIONS:
        names, scores, has = patient_scores(series, shown, name)
        if not has.any() or has.all():
            continue
        flagged = scores >= rules.series_from[name]
        area = patient_intervals(partial(_auroc, has, scores), names, has.astype(np.int64))["auroc"]
        wanted = {"tumor": (">= 0.90", "all", "<= 0.20")}.get(name, ("", "", ""))
        rows += [
            Row("7", f"AUROC of a series' {name}, {has.sum()} of {len(names)} patients have one",
                _shown(area), wanted[0]),
            Row("7", f"patients with {name} flagged", f"{flagged[has].sum()} of {has.sum()}",
                "" if name != "tumor" else wanted[1]),
            Row("7", f"patients without {name} flagged",
                f"{flagged[~has].sum()} of {(~has).sum()}", wanted[2]),
        ]  # fmt: skip
        if name == "tumor":
            large = has & (text.loc[names.tolist()].map(largest_cm).to_numpy() >= _LARGE_CM)
            rows.append(Row("7", "patients with a mass of 3 cm and more flagged",
                            f"{flagged[large].sum()} of {large.sum()}", "all"))  # fmt: skip
    return rows


def _auroc(
    has: NDArray[np.bool_], scores: NDArray[np.float64], rows: NDArray[np.int64]
) -> dict[str, float]:
    return {"auroc": auroc(has[rows], scores[rows])}


def peak_rows(predictions: LesionPredictions, annotation: pd.DataFrame) -> list[Row]:
    """Return how often the tumour map peaks on a mass that was marked by eye.

    Args:
        predictions: N slices, those of series with paths PATIENT/NUMBER.jpg.
        annotation: a row a slice with patient, slice and mass_box (top;left;bottom;right).
    """
    boxes = {
        (str(row["patient"]), int(row["slice"])): str(row["mass_box"])
        for _, row in annotation.dropna(subset=["mass_box"]).iterrows()
    }
    hits: dict[str, list[bool]] = {}
    for number, record in enumerate(predictions.records):
        patient, _, name = record.path.partition("/")
        key = patient, int(digits) if (digits := name.split(".")[0]).isdigit() else -1
        if key in boxes:
            tumor = predictions.lesions[number, LESIONS.index("tumor")].astype(np.float32)
            row, column = peak(tumor, predictions.regions[number].tolist())
            top, left, bottom, right = map(float, boxes[key].split(";"))
            inside = top - _BOX_MARGIN <= row <= bottom + _BOX_MARGIN
            across = left - _BOX_MARGIN <= column <= right + _BOX_MARGIN
            hits.setdefault(patient, []).append(inside and across)
    shown = ", ".join(f"{name} {np.mean(own):.2f}" for name, own in sorted(hits.items()))
    return [Row("7", "slices of a mass with the peak on it, by patient", shown, "all")]


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


def artifact_row(path: Path) -> list[Row]:
    """Return target 9 of an exported file: what export measured on this machine."""
    if not path.is_file() or (benchmark := read_artifact(path)[1].benchmark) is None:
        return []
    shown = (
        f"{benchmark.milliseconds:.1f} ms, {benchmark.size_mb:.1f} MB "
        f"({benchmark.threads} threads, {benchmark.machine})"
    )
    return [Row("9", "a slice of 512 x 512; the file", shown, "<= 40 ms, <= 20 MB")]


def sources_table(stores: Sequence[SliceStore]) -> str:
    """Return what the sources have as a table in Markdown: a row a pool."""
    lines = ["| source | pool | slices | patients | with masks |", "|---|---|---|---|---|"]
    for store in stores:
        for pool in sorted({record.pool for record in store.records}):
            rows = [at for at, record in enumerate(store.records) if record.pool == pool]
            patients = {store.records[at].patient for at in rows}
            drawn = sum(bool(store.masks[at].any()) for at in rows)
            lines.append(
                f"| {store.source.name} | {pool} | {len(rows):,} | {len(patients)} | {drawn:,} |"
            )
    return "\n".join(lines) + "\n"


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
