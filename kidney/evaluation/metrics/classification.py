"""Figures of a classifier: pure functions of labels and probabilities, by slice, scan and group.

Throughout, `labels` is int64 (N,), class indices below K, and `probabilities` is float (N, K).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from kidney.artifact.series import pool
from kidney.evaluation.metrics.bootstrap import REPEATS, Interval, patient_intervals

Labels = NDArray[np.int64]
Probabilities = NDArray[np.floating]

POINTS = 200  # of a curve in a report
GROUP_FIGURES = ("accuracy", "macro_auroc")


def confusion(labels: Labels, probabilities: Probabilities) -> NDArray[np.int64]:
    """Count slices by true class (rows) and most probable class (columns): int64 (K, K)."""
    classes = probabilities.shape[1]
    pairs = labels * classes + probabilities.argmax(axis=1)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def auroc(positive: NDArray[np.bool_], score: NDArray[np.floating]) -> float:
    """Return the area under the ROC curve, 0 to 1; NaN where one side is missing.

    It is the chance that a positive scores above a negative, ties counted half (Mann-Whitney U;
    Hanley and McNeil, Radiology 1982).
    """
    positives, negatives = np.sort(score[positive]), np.sort(score[~positive])
    if not len(positives) or not len(negatives):
        return float("nan")
    below = negatives.searchsorted(positives, "left").sum()
    below += negatives.searchsorted(positives, "right").sum()
    return float(below / (2 * len(positives) * len(negatives)))


def macro_auroc(labels: Labels, probabilities: Probabilities) -> float:
    """Return the mean of the one-against-rest areas of the classes that occur, 0 to 1, or NaN."""
    classes = range(probabilities.shape[1])
    return _mean(np.array([auroc(labels == k, probabilities[:, k]) for k in classes]))


def figures(
    labels: Labels, probabilities: Probabilities, classes: Sequence[str]
) -> dict[str, float]:
    """Return the figures of the most probable class and of the ranking.

    accuracy; balanced_accuracy, the mean recall of the classes that occur; loss, the mean
    cross-entropy (log loss) in nats; macro_auroc, the mean of the one-against-rest areas; and for
    each class recall_CLASS and auroc_CLASS. 0 to 1 except the loss. NaN where a class does not
    occur.
    """
    counts = confusion(labels, probabilities)
    with np.errstate(invalid="ignore", divide="ignore"):
        recalls = np.diag(counts) / counts.sum(axis=1)
    areas = [auroc(labels == k, probabilities[:, k]) for k in range(len(classes))]
    own = np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, 1.0)
    return {
        "accuracy": float(np.diag(counts).sum() / counts.sum()),
        "balanced_accuracy": _mean(recalls),
        "macro_auroc": _mean(np.array(areas)),
        "loss": float(-np.log(own).mean()),
        **{f"recall_{name}": float(value) for name, value in zip(classes, recalls, strict=True)},
        **{f"auroc_{name}": value for name, value in zip(classes, areas, strict=True)},
    }


def _mean(values: NDArray[np.floating]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def sensitivity_of(probabilities: NDArray[np.floating], threshold: float) -> float:
    """Return the share of slices that have the finding and are suspected; NaN without any."""
    return float((probabilities >= threshold).mean()) if len(probabilities) else float("nan")


def specificity_of(probabilities: NDArray[np.floating], threshold: float) -> float:
    """Return the share of slices without the finding that are not suspected; NaN without any."""
    return float((probabilities < threshold).mean()) if len(probabilities) else float("nan")


def predictive_values(
    sensitivity: float, specificity: float, prevalence: float
) -> tuple[float, float]:
    """Return PPV and NPV at a prevalence, by Bayes' theorem; NaN where nothing is called so.

    A test set holds findings far more often than a clinic does. At a prevalence of 1 % a
    sensitivity of 0.9 and a specificity of 0.8 are a PPV of 0.04.

    Args:
        sensitivity: share of the cases with the finding that are called positive, 0 to 1.
        specificity: share of the cases without it that are not, 0 to 1.
        prevalence: share of cases that have the finding, 0 to 1.
    """
    hits, misses = sensitivity * prevalence, (1 - sensitivity) * prevalence
    alarms, clear = (1 - specificity) * (1 - prevalence), specificity * (1 - prevalence)
    return _ratio(hits, hits + alarms), _ratio(clear, clear + misses)


def net_benefit(
    positive: NDArray[np.bool_],
    probability: NDArray[np.floating],
    thresholds: NDArray[np.floating],
    prevalence: float | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the decision curve: the net benefit of the model, and of calling every case positive.

    TPR * prevalence - FPR * (1 - prevalence) * t / (1 - t) (Vickers and Elkin, Medical Decision
    Making 2006): true alarms, less false ones at the exchange rate that the threshold t implies.
    Calling no case positive has 0.

    Args:
        positive: bool (N,), with both kinds.
        probability: float (N,), of the finding.
        thresholds: float (T,), from which probability on one would act, above 0 and below 1.
        prevalence: None: that of `positive`.

    Returns:
        float (T,) twice; at most the prevalence.
    """
    prevalence = float(positive.mean()) if prevalence is None else prevalence
    called = probability >= thresholds[:, None]
    tpr, fpr = called[:, positive].mean(axis=1), called[:, ~positive].mean(axis=1)
    odds = thresholds / (1 - thresholds)
    everyone = prevalence - (1 - prevalence) * odds
    return tpr * prevalence - fpr * (1 - prevalence) * odds, everyone


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")


class Curves(TypedDict):
    """ROC and precision-recall at the same thresholds, from the highest on; empty lists where the
    class or the rest does not occur.
    """

    fpr: list[float]
    tpr: list[float]
    precision: list[float]
    recall: list[float]


def curves(positive: NDArray[np.bool_], score: NDArray[np.floating]) -> Curves:
    """Return both curves with at most 200 points.

    Args:
        positive: bool (N,).
        score: float (N,), high means positive.

    Returns:
        fpr, tpr from (0, 0) to (1, 1); precision, 1 by convention where nothing is called positive;
        recall, equal to tpr.
    """
    if not positive.any() or positive.all():
        return {"fpr": [], "tpr": [], "precision": [], "recall": []}
    fpr, tpr, _ = roc_curve(positive, score, drop_intermediate=False)
    precision, recall, _ = precision_recall_curve(positive, score)
    shown = evenly_spaced(len(fpr), POINTS)
    return {
        "fpr": fpr[shown].tolist(),
        "tpr": tpr[shown].tolist(),
        "precision": precision[::-1][shown].tolist(),
        "recall": recall[::-1][shown].tolist(),
    }


def evenly_spaced(length: int, most: int) -> NDArray[np.int64]:
    """Return at most `most` indices below `length`, evenly spaced, with the first and the last."""
    return np.unique(np.linspace(0, length - 1, min(length, most)).round().astype(np.int64))


class ScanPredictions(NamedTuple):
    """Predictions for S scans, in the order of their names.

    Attributes:
        scans: (S,) names.
        labels: int64 (S,), the label that most of the scan's slices have.
        probabilities: float (S, K), rows sum to 1.
        slices: int64 (S,), how many slices the scan has.
    """

    scans: NDArray[np.str_]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    slices: NDArray[np.int64]


def group_weights(groups: NDArray[np.str_]) -> NDArray[np.float64]:
    """Return what each slice weighs, float (N,), when every group (patient or scan) weighs one.

    Slices of one scan are near copies of each other: 40 of them are not 40 observations.
    """
    _, group_of, slices = np.unique(groups, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / slices[group_of])


def scan_predictions(
    labels: Labels, probabilities: Probabilities, scans: NDArray[np.str_]
) -> ScanPredictions:
    """Return the prediction for each scan, its slices pooled by `kidney.artifact.series.pool`.

    Args:
        labels: int64 (N,), class indices below K.
        probabilities: float (N, K).
        scans: (N,) the scan of each slice.
    """
    names, scan_of, slices = np.unique(scans, return_inverse=True, return_counts=True)
    classes = probabilities.shape[1]
    counts = np.bincount(scan_of * classes + labels, minlength=len(names) * classes)
    return ScanPredictions(
        scans=names,
        labels=counts.reshape(-1, classes).argmax(axis=1),
        probabilities=pool(probabilities, scan_of, len(names)),
        slices=slices,
    )


def group_figures(
    predictions: pd.DataFrame, classes: Sequence[str], repeats: int = REPEATS
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the figures of each group of slices, to see which patients a model serves worse.

    Args:
        predictions: the columns of predictions.csv.
        classes: K names, columns of `predictions`.
        repeats: resamples of whole patients.

    Returns:
        kind of group (phase, plane, size) -> group -> scans, slices and figures with intervals over
        patients. The values are those that `evaluate` gives of the groups without intervals.
    """
    sizes = predictions["width"].astype(str) + " x " + predictions["height"].astype(str)
    columns: Mapping[str, pd.Series[Any]] = {
        "phase": predictions["phase"],
        "plane": predictions["plane"],
        "size": sizes,
    }
    return {
        kind: {
            str(value): {
                "scans": int(predictions["scan"][column == value].nunique()),
                "slices": int((column == value).sum()),
                "figures": _group_intervals(predictions[column == value], classes, repeats),
            }
            for value in sorted(column.unique())
        }
        for kind, column in columns.items()
    }


def _group_intervals(
    predictions: pd.DataFrame, classes: Sequence[str], repeats: int
) -> dict[str, Interval]:
    labels = predictions["label"].map(list(classes).index).to_numpy(np.int64)
    probabilities = predictions[list(classes)].to_numpy(np.float64)

    def of_rows(rows: NDArray[np.int64]) -> dict[str, float]:
        every = figures(labels[rows], probabilities[rows], classes)
        return {name: every[name] for name in GROUP_FIGURES}

    patients = predictions["patient"].to_numpy().astype(np.str_)
    return patient_intervals(of_rows, patients, labels, repeats)
