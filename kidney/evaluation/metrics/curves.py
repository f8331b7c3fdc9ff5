"""Curves of one class against the rest, thin enough for a report."""

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

POINTS = 200


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
    thresholds, rank = np.unique(-score, return_inverse=True)
    hits = np.r_[0, np.cumsum(np.bincount(rank, positive, len(thresholds)))]
    called = np.r_[0, np.cumsum(np.bincount(rank, minlength=len(thresholds)))]
    found = hits / hits[-1]
    precision = np.divide(hits, called, out=np.ones(len(hits)), where=called > 0)
    alarms = (called - hits) / (called - hits)[-1]
    shown = thinned(len(hits), POINTS)
    return {
        "fpr": alarms[shown].tolist(),
        "tpr": found[shown].tolist(),
        "precision": precision[shown].tolist(),
        "recall": found[shown].tolist(),
    }


def thinned(length: int, most: int) -> NDArray[np.int64]:
    """Return at most `most` places of `length`, evenly, the first and the last among them."""
    return np.unique(np.linspace(0, length - 1, min(length, most)).round().astype(np.int64))
