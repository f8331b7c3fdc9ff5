"""Two models on the same slices: how far the difference between them is more than chance."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kidney.evaluation.metrics.bootstrap import REPEATS, Interval, intervals_over_scans


def paired_differences(
    figures: Callable[[NDArray[np.int64], NDArray[Any]], dict[str, float]],
    before: NDArray[Any],
    after: NDArray[Any],
    labels: NDArray[np.int64],
    patients: NDArray[np.str_],
    repeats: int = REPEATS,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return by how much each figure changes from one model to the other, with its 95 % interval.

    Paired bootstrap (Efron and Tibshirani 1993): every resample of patients is put to both models,
    so what makes a patient hard for both cancels out. Of two models that share most of their errors
    a difference is then seen which their two single intervals would hide.

    Args:
        figures: labels int64 (M,) and answers (M, ...) of the same slices -> figures, a name each.
        before: (N, ...) answers of one model, probabilities (N, K) for example.
        after: (N, ...) answers of the other model to the same slices in the same order.
        labels: int64 (N,) patients are drawn within each class.
        patients: (N,) the patient of each slice.
        repeats: resamples.
        seed: of the draws.

    Returns:
        `after` minus `before` for each figure; None where a figure is not defined.
    """

    def of_rows(rows: NDArray[np.int64]) -> dict[str, float]:
        was, now = figures(labels[rows], before[rows]), figures(labels[rows], after[rows])
        return {name: now[name] - was[name] for name in was}

    return intervals_over_scans(of_rows, patients, labels, repeats, seed)
