"""Group DICOM headers into series, and sort the files of each."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePath

import numpy as np

from kidney.imaging.dicom_header import DicomHeader, same_direction

_File = tuple[str, DicomHeader]
_MOST_SCOUTS = 2  # slices of another orientation that make no stack
_WIDE = 1.5  # times the usual distance of slices is a gap
_TILT = 2.0  # degrees between the way of the table and the normal of slices


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
        stack: number of the stack in its series, from 1; 0 where the series has only one.
        doubts: what is odd about where its slices lie.
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
    stack: int = 0
    doubts: tuple[str, ...] = ()


def group_series(
    headers: Sequence[tuple[str, DicomHeader]],
) -> tuple[list[Series], list[tuple[str, str]]]:
    """Group files into series, part these into stacks of one orientation, and sort them.

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
        if header.unfit:
            refused.append((name, header.unfit))
            continue
        folder = "" if header.series_uid else str(PurePath(name).parent)
        groups.setdefault((header.study_uid, header.series_uid, folder), []).append((name, header))
    found = []
    for group in groups.values():
        for files in _by_patient(group):
            stacks, others = _stacks(files)
            first = 1 if len(stacks) > 1 else 0
            found += [_series(stack, number) for number, stack in enumerate(stacks, first)]
            refused += others
    return sorted(found, key=lambda series: series.names), sorted(refused)


def _by_patient(files: list[_File]) -> list[list[_File]]:
    parted: dict[str, list[_File]] = {}
    for name, header in files:
        parted.setdefault(header.patient_id, []).append((name, header))
    return list(parted.values()) if len(set(parted) - {""}) > 1 else [files]


def _stacks(files: list[_File]) -> tuple[list[list[_File]], list[tuple[str, str]]]:
    """Part the files of one series into stacks that can be sorted, each along its own normal.

    An object that was sent twice counts once. Reformats of other orientations are stacks of their
    own; a slice or two beside a stack are scouts. Acquisitions are parted where they overlap.
    """
    refused, once = [], {}
    for name, header in files:
        # Some anonymisers write one UID into all files: the place has to be the same as well.
        key = (header.sop_uid, header.position, header.instance) if header.sop_uid else name
        if key in once:
            refused.append((name, "the same object again: its SOPInstanceUID was there already"))
        else:
            once[key] = (name, header)
    turned: list[list[_File]] = []
    for entry in once.values():
        for stack in turned:
            if _parallel(entry[1], stack[0][1]):
                stack.append(entry)
                break
        else:
            turned.append([entry])
    most = max(map(len, turned))
    stacks = []
    for stack in turned:
        if len(stack) <= _MOST_SCOUTS and len(stack) < most and stack[0][1].frames == 1:
            reason = "a scout or reformat: its orientation is not that of its series"
            refused += [(name, reason) for name, _ in stack]
        else:
            stacks += _acquisitions(stack)
    return stacks, refused


def _parallel(one: DicomHeader, other: DicomHeader) -> bool:
    if one.normal is None or other.normal is None:
        return one.normal == other.normal
    return same_direction(one.normal, other.normal)


def _acquisitions(stack: list[_File]) -> list[list[_File]]:
    """Part acquisitions that cover the same place: their slices would lie between one another."""
    numbers: dict[int | None, list[_File]] = {}
    for entry in stack:
        numbers.setdefault(entry[1].acquisition, []).append(entry)
    spans = []
    for files in numbers.values():
        places = [header.position for _, header in files if header.position is not None]
        if not places:
            return [stack]
        spans.append((min(places), max(places)))
    spans.sort()
    if any(after[0] < before[1] for before, after in pairwise(spans)):
        return list(numbers.values())
    return _rounds(stack)


def _rounds(stack: list[_File]) -> list[list[_File]]:
    """Part a stack whose every place was scanned equally often: phases without a number."""
    places: dict[float | None, list[_File]] = defaultdict(list)
    for entry in sorted(stack, key=_number):
        places[entry[1].position].append(entry)
    times = {len(files) for files in places.values()}
    if None in places or len(places) < 2 or len(times) > 1 or times == {1}:
        return [stack]
    return [list(files) for files in zip(*places.values(), strict=True)]


def _number(entry: _File) -> tuple[float, str]:
    name, header = entry
    return math.inf if header.instance is None else header.instance, name


def _series(files: list[_File], stack: int) -> Series:
    placed = all(header.position is not None for _, header in files)

    def order(entry: _File) -> tuple[float, float, str]:
        position = entry[1].position
        return -position if placed and position is not None else 0.0, *_number(entry)

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
        stack=stack,
        doubts=tuple(_doubts(files)),
    )


def _doubts(files: list[_File]) -> list[str]:
    """Return what is odd about where the slices of a sorted stack lie."""
    places = [header.position for _, header in files if header.position is not None]
    if len(places) < len(files) or len(files) < 2:
        return []
    doubts = []
    steps = [before - after for before, after in pairwise(places)]
    gaps = [step for step in steps if step > 1e-3]
    if len(gaps) < len(steps):
        doubts.append(f"{len(steps) - len(gaps)} slices lie where another one lies")
    if gaps and max(gaps) > _WIDE * _distance(list(places)):
        doubts.append(
            f"slices lie {min(gaps):.3g} to {max(gaps):.3g} mm apart, as if some were missing"
        )
    head, feet = files[0][1], files[-1][1]
    if gaps and head.corner and feet.corner and head.normal:
        way = np.subtract(head.corner, feet.corner)
        cosine = abs(float(way @ head.normal)) / float(np.linalg.norm(way))
        if (tilt := math.degrees(math.acos(min(cosine, 1.0)))) > _TILT:
            doubts.append(f"the gantry was tilted by {tilt:.0f} degrees: the stack is sheared")
    return doubts


def _distance(positions: list[float | None]) -> float:
    """Return the median gap in mm; slices at one place (scanned twice) make no gap."""
    places = sorted(place for place in positions if place is not None)
    gaps = sorted(b - a for a, b in pairwise(places) if b - a > 1e-3)
    if len(places) < len(positions) or not gaps:
        return math.nan
    middle = len(gaps) // 2
    return gaps[middle] if len(gaps) % 2 else (gaps[middle - 1] + gaps[middle]) / 2
