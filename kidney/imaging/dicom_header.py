"""The header of a DICOM file: ids, geometry, contrast and window of its slices."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.multival import MultiValue
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
)

from kidney.errors import ConfigError, ImageError
from kidney.imaging.dicom_file import broken, open_dataset
from kidney.imaging.windows import Window

Axis = NDArray[np.float64] | None
CT_CLASSES = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
PLANES = ("sagittal", "coronal", "axial")  # by the axis of the patient that the slices stand on
_PARALLEL = 0.996  # cosine of 5 degrees between the normals of slices of one stack
_STRAIGHT = 0.8  # cosine of 37 degrees: gantries tilt by up to 30 and are still called axial
_OTHER_MODALITIES = {  # the usual ones of DICOM PS3.3 C.7.3.1.1.1
    "CR", "DOC", "DX", "KO", "MG", "MR", "NM", "OT", "PR", "PT", "REG", "RF", "RTDOSE", "RTPLAN",
    "RTSTRUCT", "SC", "SEG", "SR", "US", "XA",
}  # fmt: skip
_UNITS = ("OD", "US", "MGML", "Z_EFF", "ED", "EDW", "PCT")  # of PS3.3 C.11.1.1.2
_NOT_GIVEN = ("", "NO", "NONE", "N", "NA", "N/A", "WITHOUT", "UNENHANCED", "NO CONTRAST")


@dataclass(frozen=True)
class DicomHeader:
    """The header of a DICOM file; text is "" and a length NaN where it is absent.

    Attributes:
        modality: such as "CT".
        image_type: such as ("ORIGINAL", "PRIMARY", "AXIAL").
        patient_id: as the hospital gave it.
        study_uid: StudyInstanceUID.
        series_uid: SeriesInstanceUID.
        sop_uid: SOPInstanceUID.
        instance: InstanceNumber, None where absent.
        acquisition: AcquisitionNumber, None where absent.
        rows: of a frame as stored, 1 or more; 0 where the file holds no picture.
        columns: of a frame as stored.
        frames: 1 or more.
        plane: "axial", "coronal", "sagittal", "oblique", or "" where no orientation is given.
        position: of the (first) frame in mm along the normal of the slices, None where unknown;
            it grows towards the head, the front or the patient's right.
        normal: unit normal of the slices, as for `normal_of`; None where unknown.
        pixel_mm: distance of rows and of columns once pixels are square: the smaller one.
        aspect: distance of rows divided by that of columns, 1 where unknown.
        left_first: whether the first column is the patient's left, as a rule it is the right; None
            where columns do not run across the patient, or are not known to.
        slice_mm: SpacingBetweenSlices, else SliceThickness.
        contrast: "enhanced" where a contrast agent is named; "" proves nothing.
        window: the first window of the file, None where there is no sensible one.
        unfit: why it is no CT slice, "" where it is one.
        corner: ImagePositionPatient of the (first) frame in mm, None where unknown.
        doubts: why its numbers may be no Hounsfield units; of `read_dicom`, which sees pixels.
    """

    modality: str
    image_type: tuple[str, ...]
    patient_id: str
    study_uid: str
    series_uid: str
    sop_uid: str
    instance: int | None
    acquisition: int | None
    rows: int
    columns: int
    frames: int
    plane: str
    position: float | None
    normal: tuple[float, float, float] | None
    pixel_mm: float
    aspect: float
    left_first: bool | None
    slice_mm: float
    contrast: str
    window: Window | None
    unfit: str = ""
    corner: tuple[float, float, float] | None = None
    doubts: tuple[str, ...] = ()


def read_header(data: bytes | Path, name: str) -> DicomHeader:
    """Read the header of a DICOM file; its pixels are not touched.

    Args:
        data: the whole file, or where it lies; of a path only the header is read.
        name: how errors call it.

    Raises:
        ImageTypeError: not DICOM, or deflated.
        ImageError: broken, or it cannot be read.
    """
    try:
        return header_of(open_dataset(data, name, pixels=False))
    except ImageError:
        raise
    except Exception as error:  # values are parsed when they are asked for; see open_dataset
        raise broken(name, error) from error


def header_of(dataset: pydicom.Dataset) -> DicomHeader:
    """Return the header of what `open_dataset` returned; odd values raise what pydicom raises."""
    row, column, position = geometry_of(dataset)
    normal = normal_of(row, column)
    spacing = [
        _length([value]) for value in first(dataset, "PixelMeasuresSequence", "PixelSpacing")
    ]
    square = len(spacing) != 2 or any(map(math.isnan, spacing))
    return DicomHeader(
        modality=modality_of(dataset),
        image_type=tuple(str(part) for part in _many(dataset, "ImageType")),
        patient_id=_text(dataset, "PatientID"),
        study_uid=_text(dataset, "StudyInstanceUID"),
        series_uid=_text(dataset, "SeriesInstanceUID"),
        sop_uid=_text(dataset, "SOPInstanceUID"),
        instance=_whole(dataset, "InstanceNumber"),
        acquisition=_whole(dataset, "AcquisitionNumber"),
        rows=_whole(dataset, "Rows") or 0,
        columns=_whole(dataset, "Columns") or 0,
        frames=max(_whole(dataset, "NumberOfFrames") or 1, 1),
        plane=_plane(normal),
        position=None if normal is None or position is None else float(normal @ position),
        normal=None if normal is None else (float(normal[0]), float(normal[1]), float(normal[2])),
        pixel_mm=min(spacing) if spacing and not square else _length(spacing),
        aspect=1.0 if square else spacing[0] / spacing[1],
        left_first=None if row is None or abs(row[0]) < _STRAIGHT else bool(row[0] < 0),
        slice_mm=_slice_mm(dataset),
        contrast="enhanced" if _has_contrast(dataset) else "",
        window=_window(dataset),
        unfit=_unfit(dataset),
        corner=None if position is None else tuple(position.tolist()),
    )


def _unfit(dataset: pydicom.Dataset) -> str:
    """Return why an object holds no Hounsfield units, "" where it does.

    Only the CT image classes do (PS3.3 A.3, A.38, A.70), and of these those whose rescaled values
    have the unit HU (C.11.1.1.2): an iodine map has the same class and another unit.
    """
    modality, uid = modality_of(dataset), _text(dataset, "SOPClassUID")
    if not (_whole(dataset, "Rows") or 0) or not (_whole(dataset, "Columns") or 0):
        return "a DICOM file without a picture"
    if modality != "CT":
        return f"{shown_modality(modality)}: only CT has Hounsfield units"
    if uid and uid not in CT_CLASSES:
        kind = UID(uid).name if UID(uid).name != uid else "another class"
        return f"{kind}: only CT images have Hounsfield units"
    if "LOCALIZER" in (str(part).upper() for part in _many(dataset, "ImageType")):
        return "a localizer: it shows where slices lie and is none"
    lut = dataset.get("ModalityLUTSequence")
    units = [_text(lut[0], "ModalityLUTType")] if lut else []
    units += [str(one) for one in first(dataset, "PixelValueTransformationSequence", "RescaleType")]
    for unit in units:
        if unit.strip().upper() not in ("", "HU", "HU_MOD"):
            known = unit.strip().upper() in _UNITS
            named = f"the unit {unit.strip().upper()}" if known else "another unit"
            return f"{named} where Hounsfield units were expected"
    return ""


def modality_of(dataset: pydicom.Dataset) -> str:
    """Return the modality; where it is missing, CT for the storage classes of CT."""
    modality = _text(dataset, "Modality").upper()
    return modality or ("CT" if dataset.get("SOPClassUID") in CT_CLASSES else "")


def shown_modality(modality: str) -> str:
    """Return a modality for a message; text that is no known code may be a name, so is left out."""
    return f"modality {modality}" if modality in _OTHER_MODALITIES else "another modality"


def first(
    dataset: pydicom.Dataset, macro: str, keyword: str, frame: int = 0, strict: str = ""
) -> list[Any]:
    """Return the values of an element as a list, empty where it is absent.

    Args:
        dataset: of any storage class.
        macro: the functional group that holds the element in Enhanced CT; a frame's own group
            goes before the shared one, and an element outside of groups before both.
        keyword: of the element.
        frame: number of the frame, from 0.
        strict: how errors call the file where a value that cannot be read is one; "": it is
            unknown.

    Raises:
        ImageError: see `strict`.
    """
    places = [dataset]
    for groups, index in (
        ("PerFrameFunctionalGroupsSequence", frame),
        ("SharedFunctionalGroupsSequence", 0),
    ):
        items = dataset.get(groups) or []
        if index < len(items):
            places += list(items[index].get(macro) or [])[:1]
    for place in places:
        if values := _many(place, keyword):
            return values
        if strict and keyword in place and place[keyword].is_empty is False:
            raise _no_number(keyword, strict)
    return []


def needed(
    dataset: pydicom.Dataset, macro: str, keyword: str, frame: int, name: str
) -> list[float]:
    """Return the numbers of an element that a slice cannot be read without, [] where it is absent.

    Raises:
        ImageError: it holds what is no number; its value, which may be anything, is not quoted.
    """
    values = first(dataset, macro, keyword, frame, strict=name)
    numbers = [_number(value) for value in values[:1]]
    if any(map(math.isnan, numbers)):
        raise _no_number(keyword, name)
    return numbers


def _no_number(keyword: str, name: str) -> ImageError:
    return ImageError(
        f"Expected {keyword} of {name} to be a number with a point, but it is other text.",
        "Export the series again from the archive, or mend the element.",
    )


def geometry_of(dataset: pydicom.Dataset, frame: int = 0) -> tuple[Axis, Axis, Axis]:
    """Return the directions of a row and of a column, and the position; each None where absent.

    All are float64 (3,) in the patient's frame: left, back and head are positive (DICOM PS3.3
    C.7.6.2.1.1); the position is in mm.
    """
    orientation = _axis(
        first(dataset, "PlaneOrientationSequence", "ImageOrientationPatient", frame), 6
    )
    position = _axis(first(dataset, "PlanePositionSequence", "ImagePositionPatient", frame), 3)
    if orientation is None:
        return None, None, position
    row, column = orientation[:3], orientation[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if min(lengths) < 0.5:  # zeros are written where nothing is known
        return None, None, position
    return row / lengths[0], column / lengths[1], position


def normal_of(row: Axis, column: Axis) -> Axis:
    """Return the unit normal of a slice, towards the head, the front or the right."""
    if row is None or column is None:
        return None
    normal = np.cross(row, column)
    length = float(np.linalg.norm(normal))
    if length < 0.5:
        return None
    main = int(np.argmax(np.abs(normal)))
    towards = 1.0 if main == 2 else -1.0  # left and back are positive in DICOM, head as well
    turned: NDArray[np.float64] = normal * (towards * np.sign(normal[main]) / length)
    return turned


def same_direction(one: Sequence[float], other: Sequence[float]) -> bool:
    """Tell whether unit normals are those of slices of one stack."""
    return abs(sum(a * b for a, b in zip(one, other, strict=True))) > _PARALLEL


def upright_turns(row: Axis, column: Axis) -> tuple[bool, bool, bool]:
    """Return what brings a slice into the radiological convention; see `geometry_of` for `row`.

    Returns:
        Whether the slice has to be, in this order, transposed, mirrored from left to right, and
        mirrored from top to bottom.
    """
    normal = normal_of(row, column)
    if row is None or column is None or normal is None:
        return False, False, False
    # Which axis of the patient should run to the right of the picture, and which downwards.
    right, down = {
        2: ((1, 0, 0), (0, 1, 0)),  # axial: to the left, to the back
        1: ((1, 0, 0), (0, 0, -1)),  # coronal: to the left, to the feet
        0: ((0, 1, 0), (0, 0, -1)),  # sagittal: to the back, to the feet
    }[int(np.argmax(np.abs(normal)))]
    transposed = bool(abs(row @ right) < abs(column @ right))
    if transposed:
        row, column = column, row
    return transposed, bool(row @ right < 0), bool(column @ down < 0)


def _plane(normal: Axis) -> str:
    if normal is None:
        return ""
    main = int(np.argmax(np.abs(normal)))
    return PLANES[main] if abs(normal[main]) >= _STRAIGHT else "oblique"


def _slice_mm(dataset: pydicom.Dataset) -> float:
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        length = _length(first(dataset, "PixelMeasuresSequence", keyword))
        if not math.isnan(length):
            return length
    return math.nan


def _has_contrast(dataset: pydicom.Dataset) -> bool:
    agent = " ".join(str(part) for part in _many(dataset, "ContrastBolusAgent"))
    return agent.strip().upper() not in _NOT_GIVEN or bool(
        dataset.get("ContrastBolusAgentSequence")
    )


def _window(dataset: pydicom.Dataset) -> Window | None:
    """Return the first pair: the others are for lungs and bones."""
    center = first(dataset, "FrameVOILUTSequence", "WindowCenter")
    width = first(dataset, "FrameVOILUTSequence", "WindowWidth")
    if not center or not width:
        return None
    try:
        return Window(center=_number(center[0]), width=_number(width[0]))
    except ConfigError:
        return None


def _many(dataset: pydicom.Dataset, keyword: str) -> list[Any]:
    """Return the values of an element; one that cannot be read is unknown, as if it were absent."""
    try:
        value = dataset.get(keyword)
    except Exception:  # values are parsed here, and pydicom raises many kinds for odd ones
        return []
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, MultiValue) else [value]


def _text(dataset: pydicom.Dataset, keyword: str) -> str:
    return "\\".join(str(part) for part in _many(dataset, keyword)).strip()


def _whole(dataset: pydicom.Dataset, keyword: str) -> int | None:
    values = _many(dataset, keyword)
    try:
        return int(values[0]) if values else None
    except (TypeError, ValueError, OverflowError):
        return None


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _length(values: list[Any]) -> float:
    length = _number(values[0]) if values else math.nan
    return length if 0 < length < math.inf else math.nan


def _axis(values: list[Any], size: int) -> Axis:
    if len(values) != size:
        return None
    axis = np.array([_number(value) for value in values])
    return axis if np.isfinite(axis).all() else None
