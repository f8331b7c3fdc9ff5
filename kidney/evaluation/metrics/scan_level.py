"""Slices to scans: how much a slice weighs, and what a whole scan says."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kidney.artifact.series import pool


class ScanAnswers(NamedTuple):
    """What S scans say, in the order of their names.

    Attributes:
        scans: (S,) names.
        labels: int64 (S,), the label that most of the scan's slices have.
        probabilities: float (S, K), rows sum to 1.
        slices: int64 (S,), how many slices the scan has.
    """

    scans: NDArray[np.str_]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.floating]
    slices: NDArray[np.int64]


def scan_weights(scans: NDArray[np.str_]) -> NDArray[np.float64]:
    """Return what each slice weighs, float (N,), when every scan weighs one.

    Slices of one scan are near copies of each other: 40 of them are not 40 observations.
    """
    _, scan_of, slices = np.unique(scans, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / slices[scan_of])


def scan_answers(
    labels: NDArray[np.int64], probabilities: NDArray[np.floating], scans: NDArray[np.str_]
) -> ScanAnswers:
    """Return the answer of each scan, its slices pooled as `kidney.artifact.series.pool` does.

    Args:
        labels: int64 (N,), class indices below K.
        probabilities: float (N, K).
        scans: (N,) the scan of each slice.
    """
    names, scan_of, slices = np.unique(scans, return_inverse=True, return_counts=True)
    classes = probabilities.shape[1]
    counts = np.bincount(scan_of * classes + labels, minlength=len(names) * classes)
    return ScanAnswers(
        scans=names,
        labels=counts.reshape(-1, classes).argmax(axis=1),
        probabilities=pool(probabilities, scan_of, len(names)),
        slices=slices,
    )
