"""Answers to rows of Parquet: one a slice, and one for each file that gave none."""

import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from kidney.artifact.card import ModelCard
from kidney.artifact.predictor import Prediction
from kidney.errors import ImageError, ImageSizeError, ImageTypeError, KidneyError, NoSliceError
from kidney.scoring.decode import Decoded

PROBABILITY = "probability_"  # and the name of the class
ERRORS = pa.schema(
    [
        ("path", pa.string()),
        ("kind", pa.string()),
        ("problem", pa.string()),
        ("remedy", pa.string()),
    ]
)
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
        classes: of the card.
        model: SHA-256 of its file, kept with the schema.
    """
    return pa.schema(
        [
            ("path", pa.string()),
            ("frame", pa.int32()),
            ("instance", pa.int32()),
            ("study", pa.string()),
            ("series", pa.string()),
            ("patient", pa.string()),
            ("height", pa.int32()),
            ("width", pa.int32()),
            ("decision", pa.string()),
            ("label", pa.string()),
            *((PROBABILITY + name, pa.float32()) for name in classes),
            ("prediction_set", pa.list_(pa.string())),
            ("suspected", pa.list_(pa.string())),
            ("ood_score", pa.float32()),
            ("evidence", pa.float32()),
            ("peak_row", pa.float32()),
            ("peak_column", pa.float32()),
        ],
        metadata={"kidney.model": model},
    )


def slice_row(
    path: str, decoded: Decoded, frame: int, answer: Prediction, card: ModelCard
) -> dict[str, Any]:
    """Return what the columns of `slices_schema` hold of one slice.

    Args:
        path: of its file.
        decoded: the file.
        frame: place of the slice in it, from 0.
        answer: to the slice.
        card: of the model.
    """
    height, width = decoded.slices[frame].shape
    said = answer.decision
    evidence = answer.evidence[card.classes.index(said.label)]
    row, column = np.unravel_index(evidence.argmax(), evidence.shape)
    top, left, bottom, right = answer.region or (0.0, 0.0, float(height), float(width))
    return {
        "path": shown(path),
        "frame": frame,
        "instance": decoded.instance,
        "study": decoded.study,
        "series": decoded.series,
        "patient": decoded.patient,
        "height": height,
        "width": width,
        "decision": said.outcome,
        "label": said.label,
        **{
            PROBABILITY + name: float(value)
            for name, value in zip(card.classes, answer.probabilities, strict=True)
        },
        "prediction_set": list(said.prediction_set),
        "suspected": list(said.suspected),
        "ood_score": answer.ood_score,
        "evidence": float(evidence.max()),
        "peak_row": top + (int(row) + 0.5) / evidence.shape[0] * (bottom - top),
        "peak_column": left + (int(column) + 0.5) / evidence.shape[1] * (right - left),
    }


def error_row(path: str, error: KidneyError) -> dict[str, str]:
    """Return what the columns of `ERRORS` hold of a file that gave no slice."""
    kind = next(name for type_, name in _KINDS if isinstance(error, type_))
    return {"path": shown(path), "kind": kind, "problem": error.problem, "remedy": error.remedy}


def shown(path: str) -> str:
    r"""Return the path as text: bytes in it that are no UTF-8 become \xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def to_parquet(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> bytes:
    """Return a Parquet file; the same rows always give the same bytes."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema), buffer, compression="zstd")
    return buffer.getvalue()


def kinds_of(data: bytes) -> list[str]:
    """Return the kind of each row of a file of ERRORS."""
    return list(pq.read_table(io.BytesIO(data), columns=["kind"])["kind"].to_pylist())


def rows_of(data: bytes) -> int:
    """Return how many rows a Parquet file has."""
    return int(pq.read_metadata(io.BytesIO(data)).num_rows)
