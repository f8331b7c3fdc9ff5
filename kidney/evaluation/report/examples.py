"""Slices that are shown beside the figures: where the model is most wrong, and why."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kidney.artifact.overlay import evidence_overlay

MOST = 12  # a page that is still looked at to its end

# row, slice (H, W) -> evidence float32 (K, h, w), and the part of the slice that it covers: top,
# left, bottom and right in pixels
Explain = Callable[[int, NDArray[np.uint8]], tuple[NDArray[np.float32], Sequence[float]]]


class Example(NamedTuple):
    """One slice of the report.

    Attributes:
        row: its position in the table of predictions.
        slice: uint8 (H, W).
        overlay: uint8 (H, W, 3), RGB, over it the evidence for its most probable class.
    """

    row: int
    slice: NDArray[np.uint8]
    overlay: NDArray[np.uint8]


def worst_rows(result: Mapping[str, Any], most: int = MOST) -> list[int]:
    """Return where in the table of predictions the worst slices of the worst scans are.

    Args:
        result: what `evaluate` returned.
        most: how many scans; one slice of each, worst first.
    """
    return [scan["row"] for scan in result["scans_ranked"][:most]]


def worst_examples(
    result: Mapping[str, Any],
    said: pd.DataFrame,
    slice_of: Callable[[int], NDArray[np.uint8]],
    explain: Explain,
) -> list[Example]:
    """Return the worst slice of each of the worst scans with its evidence.

    Args:
        result: what `evaluate` returned.
        said: the table of predictions that `result` was made of.
        slice_of: row of `said` -> slice uint8 (H, W).
        explain: row and slice -> evidence of the K classes and where it lies; of a table of pooled
            folds, by the model of the row's fold.
    """
    examples = []
    for row in worst_rows(result):
        slice_ = slice_of(row)
        evidence, region = explain(row, slice_)
        told = int(said[result["classes"]].iloc[row].to_numpy(np.float64).argmax())
        strongest = float(evidence.max())
        overlay = evidence_overlay(slice_, evidence[told], strongest, region=region)
        examples.append(Example(row, slice_, overlay))
    return examples
