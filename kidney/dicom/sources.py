"""The slices that a result refers to: their headers, cleaned of what highdicom cannot take.

Devices leave out attributes that DICOM asks for, and put text where a number or a UID belongs. A
value that breaks its rules is left out; names stay, whatever character set they came in.
"""

import hashlib
import io
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.uid import UID, CTImageStorage

from kidney.dicom.archive import FinalError
from kidney.dicom.state import is_uid
from kidney.imaging.dicom_header import CT_CLASSES, geometry_of, upright_turns

# Their messages quote names, dates and UIDs.
for _library in ("pydicom", "highdicom"):
    logging.getLogger(_library).setLevel(logging.CRITICAL)

NO_SLICES = ("no-ct-image", "localizer")  # errors of a series that nothing is wrong with
_TEXTS = (  # of the patient and the study: as they are, or the archive would see another patient
    "PatientName", "PatientID", "AccessionNumber", "StudyID", "ReferringPhysicianName",
)  # fmt: skip
_DATES = {"StudyDate": "%Y%m%d", "PatientBirthDate": "%Y%m%d", "StudyTime": "%H%M%S"}
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_WRITTEN = (
    "ImageType", "SeriesNumber", "InstanceNumber", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "Rows", "Columns", "SOPClassUID",
    "PatientSex", "FrameOfReferenceUID", *_NEEDED, *_TEXTS, *_DATES,
)  # fmt: skip
_READ = [*_WRITTEN, "SpecificCharacterSet", "NumberOfFrames"]


@dataclass(frozen=True, eq=False)
class Source:
    """One slice of the series.

    Attributes:
        data: the whole file.
        header: a dataset without pixels whose values obey DICOM, in UTF-8.
        upright: whether the server's picture of it is, in this order, transposed, mirrored from
            left to right, and from top to bottom.
        rows, columns: as stored.
    """

    data: bytes
    header: pydicom.Dataset
    upright: tuple[bool, bool, bool]
    rows: int
    columns: int

    @property
    def uid(self) -> str:
        """SOPInstanceUID."""
        return str(self.header.SOPInstanceUID)

    def as_stored(self, picture: NDArray[Any]) -> NDArray[Any]:
        """Return an upright picture (H, W) turned back to the rows and columns of the file."""
        transposed, left_right, up_down = self.upright
        picture = picture[::-1] if up_down else picture
        picture = picture[:, ::-1] if left_right else picture
        return np.ascontiguousarray(picture.T if transposed else picture)

    def box_as_stored(
        self, box: tuple[float, float, float, float]
    ) -> tuple[float, float, float, float]:
        """Return an upright box (top, left, bottom, right) in the rows and columns of the file."""
        transposed, left_right, up_down = self.upright
        height, width = (self.columns, self.rows) if transposed else (self.rows, self.columns)
        top, left, bottom, right = box
        if up_down:
            top, bottom = height - bottom, height - top
        if left_right:
            left, right = width - right, width - left
        return (left, top, right, bottom) if transposed else (top, left, bottom, right)


def read_sources(files: Sequence[bytes]) -> list[Source]:
    """Read the headers of the CT slices among the files of one series.

    Raises:
        FinalError: a file cannot be read, or names its study, its series or itself by no UID; a
            file has several frames; the files are of several patients; or none is a slice (one of
            NO_SLICES).
    """
    sources: list[Source] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for data in files:
            try:
                dataset = pydicom.dcmread(
                    io.BytesIO(data), stop_before_pixels=True, specific_tags=_READ
                )
                if dataset.SOPClassUID in CT_CLASSES:
                    sources.append(_source(data, dataset))
            except FinalError:
                raise
            except Exception as error:  # pydicom parses what the file claims, and fails in any way
                raise FinalError(f"source-{type(error).__name__}") from None
    if len({str(one.header.PatientID) for one in sources}) > 1:
        raise FinalError("several-patients")
    if all("LOCALIZER" in (one.header.get("ImageType") or []) for one in sources):
        raise FinalError(NO_SLICES[1] if sources else NO_SLICES[0])
    return sources


def derived_uid(*parts: str) -> UID:
    """Return the UID that these parts always give: 2.25. and 128 bits of their SHA-256."""
    digest = hashlib.sha256("\n".join(parts).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


def report_uid(source_uids: Sequence[str], sha256: str) -> UID:
    """Return the SOPInstanceUID of the report on these slices by this model."""
    return derived_uid("report", sha256, *sorted(source_uids))


def _source(data: bytes, dataset: pydicom.Dataset) -> Source:
    if int(dataset.get("NumberOfFrames") or 1) > 1 or dataset.SOPClassUID != CTImageStorage:
        raise FinalError("multi-frame")
    header = pydicom.Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    header.Modality = "CT"
    for keyword in _WRITTEN:
        try:
            value = _clean(dataset, keyword)
            if value is not None:
                setattr(header, keyword, value)  # which parses numbers, where it can
        except Exception:  # pydicom parses a value when it is asked for, and fails in any way
            continue
    if any(keyword not in header for keyword in _NEEDED):
        raise FinalError("uid")
    for keyword in (*_TEXTS, *_DATES, "PatientSex"):  # type 2: there, and empty where unknown
        if keyword not in header:
            setattr(header, keyword, "")
    row, column, _ = geometry_of(header)
    return Source(data, header, upright_turns(row, column), int(header.Rows), int(header.Columns))


def _clean(dataset: pydicom.Dataset, keyword: str) -> Any:
    """Return a value that obeys DICOM, or None; raise where pydicom or strptime do."""
    value = dataset.get(keyword)
    if value is None or value == "":
        return None
    if keyword.endswith("UID"):
        return str(value) if is_uid(str(value)) else None
    if keyword in _TEXTS:
        return str(value)
    if keyword in _DATES:
        text = str(value).partition(".")[0]
        datetime.strptime(text, _DATES[keyword])
        return text
    if keyword == "PatientSex":
        return value if value in ("M", "F", "O") else None
    return value
