"""Predictions to rows of Parquet: one a slice, and one for each file that gave none."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from kidney.artifact.card import ModelCard
from kidney.artifact.predictor import Prediction
from kidney.errors import ImageError, ImageSizeError, ImageTypeError, KidneyError, NoSliceError
from kidney.scoring.decode import Decoded

PROBABILITY = "probability_"  # and the name of the class
ERRORS = pa.schema(dict.fromkeys(("path", "kind", "problem", "remedy"), pa.string()))
# The first that fits; what is passed over belongs to studies and holds no slice, like a report.
_KINDS: Sequence[tuple[type[KidneyError], str]] = (
    (NoSliceError, "passed_over"),
    (ImageTypeError, "another_kind"),
    (ImageSizeError, "size"),
    (ImageError, "damaged"),
    (KidneyError, "unreadable"),
)


def slices_schema(classes: Sequence[str], model: str) -> pa.Schema:
    """Return the columns of a slice.

    Args:
        model: SHA-256 of its file, kept with the schema.
    """
    text, integer, number = pa.string(), pa.int32(), pa.float32()
    columns = {
        "path": text,
        **dict.fromkeys(("frame", "instance"), integer),
        **dict.fromkeys(("study", "series", "patient"), text),
        **dict.fromkeys(("height", "width"), integer),
        **dict.fromkeys(("decision", "label"), text),
        **dict.fromkeys((PROBABILITY + name for name in classes), number),
        **dict.fromkeys(("prediction_set", "suspected"), pa.list_(text)),
        **dict.fromkeys(("ood_score", "evidence", "peak_row", "peak_column"), number),
    }
    return pa.schema(columns, metadata={"kidney.model": model})


def slice_row(
    path: str, decoded: Decoded, frame: int, prediction: Prediction, card: ModelCard
) -> dict[str, Any]:
    """Return what the columns of `slices_schema` hold of one slice.

    Args:
        frame: position of the slice in it, from 0.
    """
    height, width = decoded.slices[frame].shape
    decision = prediction.decision
    evidence = prediction.evidence[card.classes.index(decision.label)]
    row, column = np.unravel_index(evidence.argmax(), evidence.shape)
    top, left, bottom, right = prediction.region or (0.0, 0.0, float(height), float(width))
    probabilities = zip(card.classes, prediction.probabilities, strict=True)
    return {
        "path": as_text(path),
        "frame": frame,
        "instance": decoded.instance,
        "study": decoded.study,
        "series": decoded.series,
        "patient": decoded.patient,
        "height": height,
        "width": width,
        "decision": decision.outcome,
        "label": decision.label,
        **{PROBABILITY + name: float(value) for name, value in probabilities},
        "prediction_set": list(decision.prediction_set),
        "suspected": list(decision.suspected),
        "ood_score": prediction.ood_score,
        "evidence": float(evidence.max()),
        "peak_row": top + (int(row) + 0.5) / evidence.shape[0] * (bottom - top),
        "peak_column": left + (int(column) + 0.5) / evidence.shape[1] * (right - left),
    }


def error_row(path: str, error: KidneyError) -> dict[str, str]:
    """Return what the columns of `ERRORS` hold of a file that gave no slice."""
    kind = next(name for type_, name in _KINDS if isinstance(error, type_))
    return {"path": as_text(path), "kind": kind, "problem": error.problem, "remedy": error.remedy}


def as_text(path: str) -> str:
    r"""Return the path as text: bytes in it that are no UTF-8 become \xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
