"""DICOM files to datasets with the elements that are used here, within limits.

Only the elements below are read from a file; names, dates and descriptions never are.
"""

import io
import logging
import warnings
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.filereader import _read_file_meta_info
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from kidney.errors import ImageError, ImageSizeError, ImageTypeError

_MOST_READS = 500_000  # an Enhanced CT of 1,000 frames takes 110,000
_MOST_BYTES = 4_000_000  # of an element that holds no pixels
_PIXEL_DATA = 0x7FE00010
# pydicom warns of odd values by quoting them, and they may be a patient's: keep them out of logs.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module=r"pydicom\.")
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")  # where the preamble is missing
_HEADER = (
    "ImageType", "SOPClassUID", "SOPInstanceUID", "Modality", "ContrastBolusAgent",
    "ContrastBolusAgentSequence", "SliceThickness", "SpacingBetweenSlices", "PatientID",
    "StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "NumberOfFrames", "Rows", "Columns",
    "WindowCenter", "WindowWidth", "RescaleType", "AcquisitionNumber", "ModalityLUTSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
_PIXELS = (
    "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleIntercept",
    "RescaleSlope", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
    "PixelData",
)  # fmt: skip


def open_dataset(data: bytes | Path, name: str, *, pixels: bool) -> pydicom.Dataset:
    """Parse the elements that are used here; `file_meta` always has a TransferSyntaxUID after.

    Raises:
        ImageTypeError: not DICOM, or deflated.
        ImageError: broken, or it cannot be read.
    """
    if isinstance(data, bytes) and not data:
        raise ImageError(f"{name} is empty (0 bytes).", "Send a DICOM file with content.")
    try:
        if isinstance(data, bytes):
            return _parse(_Bounded(data), name, pixels=pixels)
        with data.open("rb") as file:
            return _parse(file, name, pixels=pixels)
    except ImageError:
        raise
    except Exception as error:
        # pydicom parses what the file claims: damage surfaces as struct.error, KeyError,
        # RecursionError, NotImplementedError, AttributeError, MemoryError and others besides.
        raise broken(name, error) from error


class _Bounded(io.BytesIO):
    """Bytes that can be read so often and no more: pydicom reads at least once an element.

    Twenty megabytes of empty elements would take it fourteen seconds and a gigabyte.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = _MOST_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise ValueError("it has more elements than any CT")
        return super().read(size)


def is_dicom(start: bytes) -> bool:
    """Tell whether a file may be DICOM by its first 132 bytes; some lack the preamble."""
    return start[128:132] == b"DICM" or start[:2] in _FIRST_GROUPS


def broken(name: str, error: Exception) -> ImageError:
    """Return the error for a DICOM file that pydicom could not parse."""
    message = str(error).strip().splitlines() or [type(error).__name__]
    return ImageError(
        f"{name} begins like a DICOM file but cannot be read: {message[0][:200]}.",
        "Copy or export the file again; it is truncated or damaged.",
    )


def _no_dicom(name: str) -> ImageTypeError:
    return ImageTypeError(
        f"Expected {name} to be a DICOM file, but its content is not.",
        "Send a DICOM file with a picture; a file's name does not matter, its content does.",
    )


def _parse(file: BinaryIO, name: str, *, pixels: bool) -> pydicom.Dataset:
    start = file.read(132)
    if not is_dicom(start):
        raise _no_dicom(name)
    bare = start[128:] != b"DICM"
    _refuse_deflated(file, name, bare=bare)
    file.seek(0)
    try:
        dataset = pydicom.dcmread(
            file,
            stop_before_pixels=not pixels,
            force=bare,
            specific_tags=list(_HEADER + _PIXELS if pixels else _HEADER),
        )
    except Exception as error:
        if bare:  # it was a guess
            raise _no_dicom(name) from error
        raise
    if not dataset or (bare and not ("SOPClassUID" in dataset and "Rows" in dataset)):
        raise _no_dicom(name)
    for element in dataset.elements():  # sequences of known length, which are parsed later
        value = element.value
        if isinstance(value, bytes) and len(value) > _MOST_BYTES and element.tag != _PIXEL_DATA:
            raise ImageSizeError(
                f"Expected each element of {name} but its pixels to have at most {_MOST_BYTES:,} "
                f"bytes, got {len(value):,}.",
                "Export the series as single slices (CT Image Storage).",
            )
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = _guessed(dataset)
    return dataset


def _refuse_deflated(file: BinaryIO, name: str, *, bare: bool) -> None:
    """Raise before dcmread would inflate: 195 kB can become 200 MB there, with no limit to set."""
    file.seek(0 if bare else 132)
    # pydicom's own reader of the meta group, so that no file can say one thing here and another
    # to dcmread.
    if _read_file_meta_info(file).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        raise ImageTypeError(
            f"{name} is a DICOM file with the deflated transfer syntax "
            f"({DeflatedExplicitVRLittleEndian}), which is not read here.",
            "Save it with another transfer syntax, for example with DCMTK: dcmconv +te IN OUT.",
        )


def _guessed(dataset: pydicom.Dataset) -> UID:
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian
