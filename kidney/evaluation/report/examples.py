"""Slices that are shown beside the figures: where the model is most wrong, and why."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from kidney.artifact.overlay import evidence_overlay, png_bytes, within
from kidney.evaluation.result import EvaluationResult
from kidney.reporting.html import picture

MOST = 12  # a page that is still read to its end
_SIDE = 280  # pixels of a picture

# row, slice (H, W) -> evidence float32 (K, h, w), and the part of the slice that it covers: top,
# left, bottom and right in pixels
Explain = Callable[[int, NDArray[np.uint8]], tuple[NDArray[np.float32], Sequence[float]]]


class Example(NamedTuple):
    """One slice of the report."""

    row: int  # its position in the table of predictions
    slice: NDArray[np.uint8]  # uint8 (H, W)
    # uint8 (H, W, 3), RGB, over it the evidence for its most probable class
    overlay: NDArray[np.uint8]


def worst_examples(
    result: EvaluationResult,
    predictions: pd.DataFrame,
    slice_of: Callable[[int], NDArray[np.uint8]],
    explain: Explain,
) -> list[Example]:
    """Return the worst slice of each of the worst scans with its evidence.

    Args:
        explain: row and slice -> evidence of the K classes and where it lies; of a table of pooled
            folds, by the model of the row's fold.
    """
    examples = []
    for row in (scan.row for scan in result.scans_ranked[:MOST]):
        slice_ = slice_of(row)
        evidence, region = explain(row, slice_)
        predicted = int(predictions[list(result.classes)].iloc[row].to_numpy(np.float64).argmax())
        strongest = float(evidence.max())
        overlay = evidence_overlay(slice_, evidence[predicted], strongest, region=region)
        examples.append(Example(row, slice_, overlay))
    return examples


def example_picture(example: Example, predictions: pd.DataFrame, classes: Sequence[str]) -> Markup:
    """Return an HTML figure: the slice, its overlay, and what was predicted for it."""
    row = predictions.iloc[example.row]
    probabilities = row[list(classes)].to_numpy(np.float64)
    predicted = classes[int(probabilities.argmax())]
    grey, overlay = within(example.slice, _SIDE), within(example.overlay, _SIDE)
    pair = np.hstack([np.repeat(grey[:, :, None], 3, axis=2), overlay])
    caption = (
        f"Scan {row['scan']}, {str(row['path']).rpartition('/')[2]}: is {row['label']}, most "
        f"probable {predicted} ({probabilities.max():.0%}), {row['label']} "
        f"{row[row['label']]:.0%}. Decision: {str(row['decision']).replace('_', ' ')}. Prediction "
        f"set: {', '.join(str(row['set']).split())}."
    )
    return picture(png_bytes(pair), caption)
