"""DICOM headers to series: which files belong together, and in which order."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePath

from kidney.imaging.dicom_header import DicomHeader


@dataclass(frozen=True)
class Series:
    """The files of one CT series, from the head to the feet (front to back, right to left).

    Attributes:
        study_uid: StudyInstanceUID, "" where the files have none.
        series_uid: SeriesInstanceUID, "" where the files have none.
        patient_id: as the hospital gave it, "" where unknown.
        names: of the files, in order.
        slice_mm: median distance of neighbours by their positions, NaN where unknown.
        view: as in DicomHeader.
        contrast: "enhanced" where a file names a contrast agent, else "".
    """

    study_uid: str
    series_uid: str
    patient_id: str
    names: tuple[str, ...]
    slice_mm: float
    view: str
    contrast: str


def group_series(
    headers: Sequence[tuple[str, DicomHeader]],
) -> tuple[list[Series], list[tuple[str, str]]]:
    """Put files into series and order.

    Files belong together when study and series are the same. Where the series has no UID (some
    anonymisers blank it), the folder takes its place. The order is by position; by instance
    number where a position is missing; then by name.

    Args:
        headers: name (a path) and header of each file, in any order.

    Returns:
        The series, sorted by the name of their first file, and what is in none of them: name and
        reason, sorted. The order of `headers` never matters.
    """
    groups: dict[tuple[str, str, str], list[tuple[str, DicomHeader]]] = {}
    refused = []
    for name, header in sorted(headers, key=lambda entry: entry[0]):
        if reason := _unfit(header):
            refused.append((name, reason))
            continue
        folder = "" if header.series_uid else str(PurePath(name).parent)
        groups.setdefault((header.study_uid, header.series_uid, folder), []).append((name, header))
    found = [_series(files) for files in groups.values()]
    return sorted(found, key=lambda series: series.names), refused


def _unfit(header: DicomHeader) -> str:
    if header.modality != "CT":
        return f"expected CT, got modality {header.modality or 'unknown'}"
    if "LOCALIZER" in (part.upper() for part in header.image_type):
        return "a localizer: it shows where slices lie and is none"
    if header.rows < 1 or header.columns < 1:
        return "a DICOM file without a picture"
    return ""


def _series(files: list[tuple[str, DicomHeader]]) -> Series:
    placed = all(header.position is not None for _, header in files)

    def order(entry: tuple[str, DicomHeader]) -> tuple[float, float, str]:
        name, header = entry
        number = math.inf if header.instance is None else header.instance
        height = -header.position if placed and header.position is not None else 0.0
        return height, number, name

    files = sorted(files, key=order)
    head = files[0][1]
    return Series(
        study_uid=head.study_uid,
        series_uid=head.series_uid,
        patient_id=next((header.patient_id for _, header in files if header.patient_id), ""),
        names=tuple(name for name, _ in files),
        slice_mm=_distance([header.position for _, header in files]),
        view=head.view if all(header.view == head.view for _, header in files) else "",
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
