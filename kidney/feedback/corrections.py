"""Feedback to corrections: which slices of a data set readers gave another class, and how often.

The newest feedback of a reader on a slice counts. Where readers differ, nobody is right.
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kidney.errors import DataError
from kidney.feedback.store import Feedback, FeedbackStore, Result
from kidney.files import sha256


class Place(NamedTuple):
    """Where a data set holds a slice."""

    path: str
    frame: int
    scan: str  # as the manifest names it: a keyed hash of DICOM; "": not in the manifest


@dataclass(frozen=True)
class Agreement:
    """How often readers agreed with one class of one model."""

    model: str
    label: str
    agreed: int
    count: int


@dataclass(frozen=True)
class Export:
    """What feedback says of a data set.

    Attributes:
        slices: (path, frame) -> label.
        series: scan -> label, of series that a reader judged as a whole.
        agreement: by model and class.
        conflicts: slices and series on which readers differ; they are in neither table.
        unknown: slices and series that the data set does not hold.
    """

    slices: Mapping[tuple[str, int], str]
    series: Mapping[str, str]
    agreement: list[Agreement]
    conflicts: int
    unknown: int


def known_slices(data: Path) -> dict[str, Place]:
    """Return SHA-256 -> place of the slices of a data set: its manifest, and refused raw files.

    A file without a label is in no manifest; feedback can give it one.

    Raises:
        DataError: there is neither a manifest nor a raw folder.
    """
    raw, manifest = data / "raw", data / "manifest.csv"
    found: dict[str, Place] = {}
    if manifest.is_file():
        with manifest.open(encoding="utf-8", newline="") as content:
            for row in csv.DictReader(content):
                place = Place(row["path"], int(row["frame"]), row["scan"])
                found[row["sha256"]] = place
    elif not raw.is_dir():
        raise DataError(
            f"Expected a data set in {data}, but it has neither manifest.csv nor raw/.",
            "Run python scripts/ingest.py first, and name the folder data/NAME.",
        )
    listed = {place.path for place in found.values()}
    for file in sorted(raw.rglob("*")):
        path = file.relative_to(raw).as_posix()
        if file.is_file() and path not in listed:
            found.setdefault(sha256(file), Place(path, 0, ""))
    return found


def corrections(store: FeedbackStore, known: Mapping[str, Place]) -> Export:
    """Join the feedback of a store with the slices of a data set."""
    results = {(one.id, one.series): one for one in store.results()}
    slices: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)  # reader -> label
    series: dict[str, dict[str, str]] = defaultdict(dict)
    unknown = 0
    all_feedback = store.feedback()
    for one in all_feedback:
        places = [
            known.get(file) or known.get(pixels)
            for file, pixels in store.digests(one.id, one.series)
        ]
        if one.slices or len(places) == 1:
            for position in one.slices or (1,):
                if place := places[position - 1]:
                    slices[place.path, place.frame][one.reader] = one.label
                else:
                    unknown += 1
        elif scans := {place.scan for place in places if place and place.scan}:
            for scan in scans:
                series[scan][one.reader] = one.label
        else:
            unknown += 1
    tables = (slices.values(), series.values())
    return Export(
        slices={key: label for key, by in slices.items() if (label := _common(by))},
        series={key: label for key, by in series.items() if (label := _common(by))},
        agreement=_agreement(all_feedback, results),
        conflicts=sum(not _common(by) for table in tables for by in table),
        unknown=unknown,
    )


def _common(by_reader: Mapping[str, str]) -> str:
    """Return the label that all readers gave; "" where they differ."""
    labels = set(by_reader.values())
    return labels.pop() if len(labels) == 1 else ""


def _agreement(
    all_feedback: list[Feedback], results: Mapping[tuple[str, int], Result]
) -> list[Agreement]:
    newest = {(one.id, one.series, one.reader): one for one in all_feedback}
    agreed, count = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for one in newest.values():
        result = results[one.id, one.series]
        count[result.model, result.label] += 1
        agreed[result.model, result.label] += one.agree
    return [Agreement(*key, agreed[key], count[key]) for key in sorted(count)]
