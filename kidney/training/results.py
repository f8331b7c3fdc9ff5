"""The files that every evaluation leaves: for machines, for people, and for another look."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kidney.evaluation.report import report_page
from kidney.files import write_text

FILES = ("metrics.json", "report.html", "predictions.csv")
SLICE = ["path", "frame", "label", "scan", "patient"]  # how predictions.csv names a slice


def predictions_of(
    slices: pd.DataFrame, classes: Sequence[str], probabilities: NDArray[np.floating]
) -> pd.DataFrame:
    """Put probabilities (N, K) beside the names of the N slices, a column a class."""
    said = pd.DataFrame(probabilities, columns=list(classes), index=slices.index)
    return slices[SLICE].join(said)


def write_result(folder: Path, result: dict[str, Any], said: pd.DataFrame) -> None:
    """Write metrics.json, report.html and predictions.csv, the figures last.

    Args:
        folder: where they go.
        result: what `evaluate` returned, with "model", "data" and "split" added.
        said: what `predictions_of` returned for the slices that `result` is about.
    """
    classes = list(result["classes"])
    labels = said["label"].map(classes.index).to_numpy(np.int64)
    page = report_page(result, labels, said[classes].to_numpy(np.float64))
    write_text(folder / "predictions.csv", said.to_csv(index=False))
    write_text(folder / "report.html", page)
    write_text(folder / "metrics.json", json.dumps(result, indent=1) + "\n")
