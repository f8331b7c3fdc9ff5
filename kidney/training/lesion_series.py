"""Whole series among the predictions: their scores as they are served, and thresholds for them.

A class label of a slice says nothing of the slices of a series that do not show the finding. So
thresholds of series are fitted to series as a hospital sends them, with what their reports say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kidney.artifact.series import finding_score
from kidney.evaluation.metrics.decisions import SeriesThreshold, fit_series_threshold
from kidney.models.lesion_classifier import LESIONS
from kidney.training.lesion_predictions import LesionPredictions

_COLUMNS = {"tumor": "mass", "cyst": "cyst", "stone": "stone"}  # of reports


@dataclass(frozen=True, eq=False)
class WholeSeries:
    """One series of a patient.

    Attributes:
        patient: whose it is.
        rows: int64 (n,), of predictions, in anatomical order.
        shows: finding -> whether the report of the patient names it.
    """

    patient: str
    rows: NDArray[np.int64]
    shows: Mapping[str, bool]


def whole_series(
    predictions: LesionPredictions, source: str, order: pd.DataFrame, reports: pd.DataFrame
) -> list[WholeSeries]:
    """Return the series of a source.

    Args:
        predictions: all slices of the series among them, paths PATIENT/NUMBER.jpg.
        source: its name.
        order: a row a slice with patient, slice and series; numbers are in anatomical order.
        reports: a row a patient with patient and mass, cyst, stone (0 or 1).
    """
    number_of = {
        (str(row["patient"]), int(row["slice"])): int(row["series"]) for _, row in order.iterrows()
    }
    found: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for row, record in enumerate(predictions.records):
        if record.source == source:
            patient, _, name = record.path.partition("/")
            slice_ = int(name.split(".")[0])
            series = number_of.get((patient, slice_), 1)
            found.setdefault((patient, series), []).append((slice_, row))
    report = reports.drop_duplicates("patient").set_index("patient")
    return [
        WholeSeries(
            patient,
            np.array([row for _, row in sorted(slices)], np.int64),
            {name: bool(report.loc[patient, column] == 1) for name, column in _COLUMNS.items()},
        )
        for (patient, _), slices in sorted(found.items())
        if patient in report.index
    ]


def patient_scores(
    series: Sequence[WholeSeries], shown: NDArray[np.floating], finding: str
) -> tuple[NDArray[np.str_], NDArray[np.float64], NDArray[np.bool_]]:
    """Return the score of a finding for each patient, the highest of its series.

    Args:
        series: of P patients.
        shown: float (N, 3), the probability of each of LESIONS on each predicted slice.
        finding: one of LESIONS.

    Returns:
        Patients (P,), scores (P,), and whether the report names the finding (P,).
    """
    column = LESIONS.index(finding)
    scores: dict[str, float] = {}
    for one in series:
        score, _ = finding_score(shown[one.rows, column], in_order=True)
        scores[one.patient] = max(score, scores.get(one.patient, 0.0))
    has = {one.patient: one.shows[finding] for one in series}
    names = sorted(scores)
    return (
        np.array(names, np.str_),
        np.array([scores[name] for name in names]),
        np.array([has[name] for name in names]),
    )


def fit_series_rules(
    series: Sequence[WholeSeries], shown: NDArray[np.floating], sensitivity: float
) -> dict[str, SeriesThreshold]:
    """Return the threshold of each finding for whole series; see `fit_series_threshold`.

    Args:
        series: that no network has seen with a label.
        shown: as for `patient_scores`.
        sensitivity: of each finding, 0 to 1.
    """
    fitted = {}
    for name in LESIONS if series else ():
        _, scores, has = patient_scores(series, shown, name)
        if has.any():
            fitted[name] = fit_series_threshold(scores, has, sensitivity)
    return fitted
