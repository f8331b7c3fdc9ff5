"""The figures of one model: predictions for slices that it has not seen -> EvaluationResult."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kidney.artifact.decision import findings
from kidney.evaluation.metrics.bootstrap import Interval, patient_intervals
from kidney.evaluation.metrics.calibration import (
    brier_score,
    calibration_line,
    error_by_chance,
    expected_calibration_error,
    reliability,
)
from kidney.evaluation.metrics.classification import (
    ScanPredictions,
    confusion,
    curves,
    evenly_spaced,
    figures,
    net_benefit,
    predictive_values,
    scan_predictions,
)
from kidney.evaluation.metrics.decisions import (
    area_under_risk_coverage,
    risk_coverage,
    set_coverage,
    set_size,
)
from kidney.evaluation.result import EvaluationResult

_RISK_COVERAGE_POINTS = 100
PREVALENCES = (0.003, 0.01, 0.05)  # of a finding: incidental on any CT, to a selected clinic
_DECISION_THRESHOLDS = np.linspace(0.01, 0.5, 50)
_OF_SCANS = ("accuracy", "balanced_accuracy", "macro_auroc", "recall_", "auroc_")
_OF_GROUPS = ("accuracy", "macro_auroc", "recall_")


def evaluate(
    predictions: pd.DataFrame,
    classes: Sequence[str],
    *,
    model: Mapping[str, Any],
    data: Mapping[str, Any],
    split: Mapping[str, Any],
    rules: Mapping[str, Any] | None = None,
    ood: Mapping[str, Any] | None = None,
) -> EvaluationResult:
    """Return all figures of a table of predictions.

    Args:
        predictions: a row a slice, with the columns of predictions.csv: `label`, `scan`, `patient`,
            `phase`, `plane`, `width`, `height`, a calibrated probability for each class under its
            name, `decision`, and `set` and `suspected`, names with spaces between. All texts are
            texts, also empty ones.
        classes: K names.
        model: of `ModelRecord`: the model that predicted.
        data: of `DataRecord`: the data set.
        split: of `SplitRecord`: the part of its split that the slices are.
        rules: of `Rules`: the thresholds of the model; None where several folds are pooled.
        ood: figures of its out-of-distribution score; None where not measured.

    Returns:
        None where a figure is not defined.

        - classes; slices, scans, patients: counts.
        - figures: name -> Interval over whole patients. Of slices: what `figures` gives; ece, see
          `expected_calibration_error`; brier; calibration_slope_FINDING and
          calibration_intercept_FINDING, see `calibration_line`; set_coverage, set_coverage_CLASS
          and set_size of the prediction sets; sensitivity_FINDING and specificity_FINDING at the
          operating points; missed_alone_FINDING, the share of its slices that stand without a
          radiologist as another class; answered, the share that stands; answered_accuracy, among
          these; aurc, see `area_under_risk_coverage`.
        - scan_figures: likewise for the answers of whole scans, see `scan_predictions`.
        - confusion, scan_confusion: counts, true class in rows, most probable class in columns.
        - reliability: the bins of the ECE. ece_by_chance: the Interval of the ECE that these
          probabilities would show if they were true, see `error_by_chance`.
        - risk_coverage: lists coverage and risk, about 100 points.
        - curves: class -> fpr, tpr, precision, recall, see `curves`.
        - predictive_values: finding -> prevalence -> ppv, npv at the operating point.
        - decision_curves: finding -> threshold, model, everyone, see `net_benefit`; at the
          prevalence of this set.
        - groups: phase, plane and size -> value -> slices, scans and figures without intervals.
        - scans_ranked: worst first.
    """
    answers = _answers(predictions, classes)
    scans = _texts(predictions["scan"])
    of_scans = scan_predictions(answers.labels, answers.probabilities, scans)
    patients = _texts(predictions["patient"])
    _, coverage, risk = risk_coverage(answers.confidence, ~answers.right)
    shown = evenly_spaced(len(risk), _RISK_COVERAGE_POINTS)
    content: dict[str, Any] = {
        "model": dict(model),
        "data": dict(data),
        "split": dict(split),
        "rules": rules,
        "classes": list(classes),
        "slices": len(predictions),
        "scans": len(of_scans.scans),
        "patients": int(predictions["patient"].nunique()),
        "figures": patient_intervals(
            lambda rows: _figures(answers.of(rows)), patients, answers.labels
        ),
        "scan_figures": _scan_figures(predictions, of_scans, classes),
        "confusion": confusion(answers.labels, answers.probabilities).tolist(),
        "scan_confusion": confusion(of_scans.labels, of_scans.probabilities).tolist(),
        "reliability": reliability(answers.confidence, answers.right),
        "ece_by_chance": _by_chance(error_by_chance(answers.probabilities, patients)),
        "risk_coverage": {"coverage": coverage[shown].tolist(), "risk": risk[shown].tolist()},
        "curves": {
            name: curves(answers.labels == k, answers.probabilities[:, k])
            for k, name in enumerate(classes)
        },
        "predictive_values": _predictive_values(answers),
        "decision_curves": _decision_curves(answers),
        "groups": _groups(predictions, answers, scans),
        "scans_ranked": _ranked(answers, scans, of_scans),
        "ood": ood,
    }
    return EvaluationResult.model_validate(content)


@dataclass(frozen=True, eq=False)
class _Answers:
    """The table as arrays, a row a slice."""

    classes: Sequence[str]
    labels: NDArray[np.int64]  # (N,)
    probabilities: NDArray[np.float64]  # (N, K)
    confidence: NDArray[np.float64]  # (N,)
    right: NDArray[np.bool_]  # (N,)
    sets: NDArray[np.bool_]  # (N, K)
    suspected: NDArray[np.bool_]  # (N, K)
    answered: NDArray[np.bool_]  # (N,)

    def of(self, rows: NDArray[np.int64]) -> "_Answers":
        """Return some rows, also repeatedly."""
        return _Answers(
            self.classes, self.labels[rows], self.probabilities[rows], self.confidence[rows],
            self.right[rows], self.sets[rows], self.suspected[rows], self.answered[rows],
        )  # fmt: skip


def _answers(predictions: pd.DataFrame, classes: Sequence[str]) -> _Answers:
    labels = predictions["label"].map(list(classes).index).to_numpy(np.int64)
    probabilities = predictions[list(classes)].to_numpy(np.float64)
    return _Answers(
        classes=classes,
        labels=labels,
        probabilities=probabilities,
        confidence=probabilities.max(axis=1),
        right=probabilities.argmax(axis=1) == labels,
        sets=_members(predictions["set"], classes),
        suspected=_members(predictions["suspected"], classes),
        answered=predictions["decision"].isin(list(classes)).to_numpy(np.bool_),
    )


def _members(names: "pd.Series[str]", classes: Sequence[str]) -> NDArray[np.bool_]:
    """Return which classes are named, bool (N, K)."""
    listed = names.str.split()
    return np.array([[name in found for name in classes] for found in listed], dtype=np.bool_)


def _texts(column: "pd.Series[str]") -> NDArray[np.str_]:
    """Return texts as numpy's own, which sort faster than Python's."""
    return column.to_numpy().astype(np.str_)


def _figures(a: _Answers) -> dict[str, float]:
    of_findings = {}
    for name in findings(a.classes):
        k = a.classes.index(name)
        of_findings[f"sensitivity_{name}"] = _mean(a.suspected[a.labels == k, k])
        of_findings[f"specificity_{name}"] = _mean(~a.suspected[a.labels != k, k])
        of_findings[f"missed_alone_{name}"] = _mean((a.answered & ~a.right)[a.labels == k])
        slope, intercept = calibration_line(a.probabilities[:, k], a.labels == k)
        of_findings[f"calibration_slope_{name}"] = slope
        of_findings[f"calibration_intercept_{name}"] = intercept
    return {
        **figures(a.labels, a.probabilities, a.classes),
        "ece": expected_calibration_error(a.confidence, a.right),
        "brier": brier_score(a.probabilities, a.labels),
        "set_coverage": set_coverage(a.sets, a.labels),
        **{
            f"set_coverage_{name}": set_coverage(a.sets[a.labels == k], a.labels[a.labels == k])
            for k, name in enumerate(a.classes)
        },
        "set_size": set_size(a.sets),
        **of_findings,
        "answered": _mean(a.answered),
        "answered_accuracy": _mean(a.right[a.answered]),
        "aurc": area_under_risk_coverage(a.confidence, ~a.right),
    }


def _predictive_values(a: _Answers) -> dict[str, dict[str, dict[str, float | None]]]:
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for name in findings(a.classes):
        k = a.classes.index(name)
        rates = (_mean(a.suspected[a.labels == k, k]), _mean(~a.suspected[a.labels != k, k]))
        found[name] = {
            f"{prevalence:g}": {
                kind: None if math.isnan(value) else value
                for kind, value in zip(
                    ("ppv", "npv"), predictive_values(*rates, prevalence), strict=True
                )
            }
            for prevalence in PREVALENCES
        }
    return found


def _decision_curves(a: _Answers) -> dict[str, dict[str, list[float]]]:
    found = {}
    for name in findings(a.classes):
        k = a.classes.index(name)
        has = a.labels == k
        if has.any() and not has.all():
            model, everyone = net_benefit(has, a.probabilities[:, k], _DECISION_THRESHOLDS)
            found[name] = {
                "threshold": _DECISION_THRESHOLDS.tolist(),
                "model": model.tolist(),
                "everyone": everyone.tolist(),
            }
    return found


def _scan_figures(
    predictions: pd.DataFrame, of_scans: ScanPredictions, classes: Sequence[str]
) -> dict[str, Interval]:
    patient_of = dict(zip(predictions["scan"], predictions["patient"], strict=True))
    patients = np.array([patient_of[scan] for scan in of_scans.scans.tolist()])

    def of_rows(rows: NDArray[np.int64]) -> dict[str, float]:
        every = figures(of_scans.labels[rows], of_scans.probabilities[rows], classes)
        return _only(every, _OF_SCANS)

    return patient_intervals(of_rows, patients, of_scans.labels)


def _groups(
    predictions: pd.DataFrame, answers: _Answers, scans: NDArray[np.str_]
) -> dict[str, dict[str, Any]]:
    columns = {
        "phase": predictions["phase"],
        "plane": predictions["plane"],
        "size": predictions["width"].astype(str) + " x " + predictions["height"].astype(str),
    }
    return {
        name: {
            str(value): _group(answers, scans, np.flatnonzero(column.to_numpy() == value))
            for value in sorted(column.unique())
        }
        for name, column in columns.items()
    }


def _group(answers: _Answers, scans: NDArray[np.str_], rows: NDArray[np.int64]) -> dict[str, Any]:
    every = figures(answers.labels[rows], answers.probabilities[rows], answers.classes)
    return {
        "slices": len(rows),
        "scans": len(np.unique(scans[rows])),
        "figures": {
            name: None if math.isnan(value) else value
            for name, value in _only(every, _OF_GROUPS).items()
        },
    }


def _ranked(
    answers: _Answers, scans: NDArray[np.str_], of_scans: ScanPredictions
) -> list[dict[str, Any]]:
    own = of_scans.probabilities[np.arange(len(of_scans.labels)), of_scans.labels]
    own_of_slice = answers.probabilities[np.arange(len(answers.labels)), answers.labels]
    by_wrongness = np.argsort(own_of_slice, kind="stable")
    names, first = np.unique(scans[by_wrongness], return_index=True)
    worst = dict(zip(names.tolist(), by_wrongness[first].tolist(), strict=True))
    says = of_scans.probabilities.argmax(axis=1)
    return [
        {
            "scan": str(of_scans.scans[place]),
            "label": answers.classes[of_scans.labels[place]],
            "says": answers.classes[says[place]],
            "probability": float(own[place]),
            "slices": int(of_scans.slices[place]),
            "row": worst[str(of_scans.scans[place])],
        }
        for place in np.argsort(own, kind="stable")
    ]


def _by_chance(errors: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(errors, [2.5, 97.5])
    return {"value": float(errors.mean()), "low": float(low), "high": float(high)}


def _only(values: dict[str, float], wanted: tuple[str, ...]) -> dict[str, float]:
    """Return the figures that are wanted, or are of a wanted kind: one that ends in _."""
    return {
        name: value
        for name, value in values.items()
        if any(name.startswith(kind) if kind.endswith("_") else name == kind for kind in wanted)
    }


def _mean(values: NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else float("nan")
