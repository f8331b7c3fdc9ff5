"""One file of an archive: bytes to grey slices, and predictions to rows of Parquet."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kidney.artifact.card import ModelCard
from kidney.artifact.predictor import Prediction
from kidney.errors import ImageError, ImageSizeError, ImageTypeError, KidneyError, NoSliceError
from kidney.imaging.deidentify import pseudonym
from kidney.imaging.dicom import DicomHeader, read_dicom
from kidney.imaging.dicom_file import is_dicom
from kidney.imaging.dicom_order import group_series
from kidney.imaging.pictures import decode_picture, is_picture
from kidney.imaging.slices import read_slices
from kidney.imaging.windows import Window, to_grey

_START = 132  # bytes that show what a file is
_NAME = "the file"  # in messages: its path stands beside them
_MAGIC = b"DICM"


@dataclass(frozen=True, eq=False)
class Decoded:
    """The slices of one file."""

    # uint8 (H, W) each; frames of DICOM and slices of a volume from the head to the feet
    slices: list[NDArray[np.uint8]]
    instance: int | None = None  # InstanceNumber of DICOM; None: it has none
    study: str = ""  # pseudonyms of the UIDs and of PatientID; "" where there is none
    series: str = ""
    patient: str = ""
    plane: str = ""  # of DICOM; a scout in a series shows by it
    doubts: tuple[str, ...] = ()  # why its numbers may be no Hounsfield units


def decode(data: bytes, window: Window, key: bytes) -> Decoded:
    """Read a picture, a DICOM file or a NIfTI volume; its content tells which it is.

    Raises:
        ImageError: it is no slice. The message quotes nothing of the file.
    """
    start = data[:_START]
    try:
        # The preamble of a DICOM file may make a TIFF of it too.
        if is_picture(start) and start[128:] != _MAGIC:
            return Decoded([decode_picture(data, _NAME)])
        if is_dicom(start):
            return _dicom(data, window, key)
        with tempfile.NamedTemporaryFile() as file:  # a volume is read from a path
            file.write(data)
            file.flush()
            return Decoded(read_slices(Path(file.name), window, _NAME))
    except (ImageTypeError, ImageSizeError):
        raise
    except ImageError as error:
        # Behind the colon a decoder quotes what it stumbled over: a patient's name, perhaps.
        raise ImageError(error.problem.partition(": ")[0].rstrip(".") + ".", error.remedy) from None


def _dicom(data: bytes, window: Window, key: bytes) -> Decoded:
    image = read_dicom(data, _NAME)
    header: DicomHeader = image.header
    _, unfit = group_series([(_NAME, header)])
    if unfit:
        raise NoSliceError(
            f"Expected {_NAME} to be a CT slice, got {unfit[0][1]}.", "Nothing: it is passed over."
        )
    return Decoded(
        list(to_grey(image.hu, window)),
        header.instance,
        pseudonym(key, header.study_uid),
        pseudonym(key, header.series_uid),
        pseudonym(key, header.patient_id),
        header.plane,
        header.doubts,
    )


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
        **dict.fromkeys(("study", "series", "patient", "plane"), text),
        "doubts": pa.list_(text),
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
        "plane": decoded.plane,
        "doubts": list(decoded.doubts),
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
