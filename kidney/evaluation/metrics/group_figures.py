"""The figures of each group of slices with their intervals, to see whom a model serves worse."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from kidney.evaluation.metrics.bootstrap import REPEATS, Interval, intervals_over_scans
from kidney.evaluation.metrics.classification import figures

SHOWN = ("accuracy", "macro_auroc")


def group_figures(
    said: pd.DataFrame, classes: Sequence[str], repeats: int = REPEATS
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return kind of group -> group -> scans, slices and figures with intervals over patients.

    The values are those that `evaluate` gives of the groups, which it gives without intervals.

    Args:
        said: the columns of predictions.csv.
        classes: K names, columns of `said`.
        repeats: resamples of whole patients.
    """
    columns: Mapping[str, pd.Series] = {
        "phase": said["phase"],
        "view": said["view"],
        "size": said["width"].astype(str) + " x " + said["height"].astype(str),
    }
    return {
        kind: {
            str(value): {
                "scans": int(said["scan"][column == value].nunique()),
                "slices": int((column == value).sum()),
                "figures": _of(said[column == value], classes, repeats),
            }
            for value in sorted(column.unique())
        }
        for kind, column in columns.items()
    }


def _of(said: pd.DataFrame, classes: Sequence[str], repeats: int) -> dict[str, Interval]:
    labels = said["label"].map(list(classes).index).to_numpy(np.int64)
    probabilities = said[list(classes)].to_numpy(np.float64)
    patients = said["patient"].to_numpy().astype(np.str_)
    if len(np.unique(patients)) < 2:  # of one patient there is no other to draw
        only = figures(labels, probabilities, classes)
        return {name: {"value": _defined(only[name]), "low": None, "high": None} for name in SHOWN}
    return intervals_over_scans(
        lambda rows: {
            name: value
            for name, value in figures(labels[rows], probabilities[rows], classes).items()
            if name in SHOWN
        },
        patients,
        labels,
        repeats,
    )


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value
