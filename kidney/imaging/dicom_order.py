"""Group DICOM headers into series, and sort the files of each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePath

from kidney.imaging.dicom_header import DicomHeader, shown_modality

_File = tuple[str, DicomHeader]


@dataclass(frozen=True)
class Series:
    """The files of one CT series, from the head to the feet (front to back, right to left).

    Attributes:
        study_uid: StudyInstanceUID, "" where the files have none.
        series_uid: SeriesInstanceUID, "" where the files have none.
        patient_id: as the hospital gave it, "" where unknown.
        names: of the files, in order.
        slice_mm: median distance of neighbours by their positions, NaN where unknown.
        pixel_mm: distance of rows, NaN where unknown or not the same in all files.
        left_first: as in DicomHeader.
        plane: as in DicomHeader.
        contrast: "enhanced" where a file names a contrast agent, else "".
    """

    study_uid: str
    series_uid: str
    patient_id: str
    names: tuple[str, ...]
    slice_mm: float
    pixel_mm: float
    left_first: bool | None
    plane: str
    contrast: str


def group_series(
    headers: Sequence[tuple[str, DicomHeader]],
) -> tuple[list[Series], list[tuple[str, str]]]:
    """Group files into series and sort them.

    Files belong together when study, series and patient are the same: some anonymisers write one
    UID into all files. Where the series has no UID (others blank it), the folder takes its place.
    A file without a patient belongs to the only one of its series, and where that has several, to
    none of them. The order is by position; by instance number where a position is missing; then
    by name.

    Args:
        headers: name (a path) and header of each file, in any order.

    Returns:
        The series, sorted by the name of their first file, and what is in none of them: name and
        reason, sorted. The order of `headers` never matters.
    """
    groups: dict[tuple[str, str, str], list[_File]] = {}
    refused = []
    for name, header in sorted(headers, key=lambda entry: entry[0]):
        if reason := _unfit(header):
            refused.append((name, reason))
            continue
        folder = "" if header.series_uid else str(PurePath(name).parent)
        groups.setdefault((header.study_uid, header.series_uid, folder), []).append((name, header))
    found = [_series(files) for group in groups.values() for files in _by_patient(group)]
    return sorted(found, key=lambda series: series.names), refused


def _by_patient(files: list[_File]) -> list[list[_File]]:
    parted: dict[str, list[_File]] = {}
    for name, header in files:
        parted.setdefault(header.patient_id, []).append((name, header))
    return list(parted.values()) if len(set(parted) - {""}) > 1 else [files]


def _unfit(header: DicomHeader) -> str:
    if header.modality != "CT":
        return f"expected CT, got {shown_modality(header.modality)}"
    if "LOCALIZER" in (part.upper() for part in header.image_type):
        return "a localizer: it shows where slices lie and is none"
    if header.rows < 1 or header.columns < 1:
        return "a DICOM file without a picture"
    return ""


def _series(files: list[_File]) -> Series:
    placed = all(header.position is not None for _, header in files)

    def order(entry: _File) -> tuple[float, float, str]:
        name, header = entry
        number = math.inf if header.instance is None else header.instance
        height = -header.position if placed and header.position is not None else 0.0
        return height, number, name

    files = sorted(files, key=order)
    head = files[0][1]
    sides = {header.left_first for _, header in files}
    return Series(
        study_uid=head.study_uid,
        series_uid=head.series_uid,
        patient_id=next((header.patient_id for _, header in files if header.patient_id), ""),
        names=tuple(name for name, _ in files),
        slice_mm=_distance([header.position for _, header in files]),
        pixel_mm=head.pixel_mm if len({header.pixel_mm for _, header in files}) == 1 else math.nan,
        left_first=head.left_first if len(sides) == 1 else None,
        plane=head.plane if all(header.plane == head.plane for _, header in files) else "",
        contrast="enhanced" if any(header.contrast for _, header in files) else "",
    )


def _distance(positions: list[float | None]) -> float:
    """Return the median gap in mm; slices at one place (scanned twice) make no gap."""
    places = sorted(place for place in positions if place is not None)
    gaps = sorted(b - a for a, b in pairwise(places) if b - a > 1e-3)
    if len(places) < len(positions) or not gaps:
        return math.nan
    middle = len(gaps) // 2
    return gaps[middle] if len(gaps) % 2 else (gaps[middle - 1] + gaps[middle]) / 2
