"""Figures of a classifier on slices: pure functions of labels and probabilities.

Throughout, `labels` is int64 (N,), class indices below K, and `probabilities` is float (N, K).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Probabilities = NDArray[np.floating]


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
    found, rest = np.sort(score[positive]), np.sort(score[~positive])
    if not len(found) or not len(rest):
        return float("nan")
    below = rest.searchsorted(found, "left").sum() + rest.searchsorted(found, "right").sum()
    return float(below / (2 * len(found) * len(rest)))


def figures(
    labels: Labels, probabilities: Probabilities, classes: Sequence[str]
) -> dict[str, float]:
    """Return every figure that is reported; 0 to 1 except the loss, in nats.

    accuracy; balanced_accuracy, the mean recall of the classes that occur; loss, the mean
    cross-entropy; macro_auroc, the mean of the one-against-rest areas; and for each class
    recall_CLASS and auroc_CLASS. NaN where a class does not occur.
    """
    counts = confusion(labels, probabilities)
    totals = counts.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        recalls = np.diag(counts) / totals
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
