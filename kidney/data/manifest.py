"""The manifest: one row a slice, the only list of slices that later stages read.

Columns:
    path: of the file below the raw folder, POSIX.
    frame: number of the slice in its file, from 0.
    label, scan, patient: what it shows, what it was acquired in and whose it is; where nobody knows
        the patient, the scan stands for the patient.
    phase: "enhanced" or "plain" (contrast medium or none), by the files or as estimated.
    plane: "axial", "coronal", "sagittal" or "oblique", by the files or as estimated.
    estimated: which of phase and plane the files do not say, for example "phase plane".
    enhancement, soft_grey, body_share: see kidney.imaging.appearance.
    window: width/level in HU through which the slice is shown; empty where it was 8-bit grey.
    pixel_mm, slice_mm: side of a pixel and distance to the next slice; empty where unknown.
    width, height: pixels.
    sha256: of the file; of the pixels where the file holds several slices.
    origin: the source it came from.

Rows are in natural order, so slices of one scan are neighbours. Files that are no usable slices are
in rejected.csv with the reason; `expected` there is "yes" for those that are nobody's mistake.
"""

import hashlib
from pathlib import Path

import pandas as pd

from kidney.errors import DataError
from kidney.files import write_text

_NUMBERS = {
    "frame": "int64", "enhancement": "float64", "soft_grey": "float64", "body_share": "float64",
    "pixel_mm": "float64", "slice_mm": "float64", "width": "int64", "height": "int64",
}  # fmt: skip
COLUMNS = [
    "path", "frame", "label", "scan", "patient", "phase", "plane", "estimated", "enhancement",
    "soft_grey", "body_share", "window", "pixel_mm", "slice_mm", "width", "height", "sha256",
    "origin",
]  # fmt: skip
REJECTED_COLUMNS = ["path", "reason", "expected"]
_MAY_BE_EMPTY = ["estimated", "window", "pixel_mm", "slice_mm"]
_TYPES = dict.fromkeys(COLUMNS, str) | _NUMBERS


def write_manifest(
    folder: Path, slices: pd.DataFrame, rejected: pd.DataFrame, boundaries: pd.DataFrame
) -> None:
    """Write rejected.csv, boundaries.csv and manifest.csv below `folder`, each whole or not at all.

    boundaries.csv lists the doubtful decisions of scan inference; see kidney.data.scans.boundaries.
    """
    write_text(folder / "boundaries.csv", boundaries.round(4).to_csv(index=False))
    write_text(folder / "rejected.csv", rejected[REJECTED_COLUMNS].to_csv(index=False))
    write_text(folder / "manifest.csv", slices[COLUMNS].to_csv(index=False))


def read_manifest(folder: Path) -> pd.DataFrame:
    """Read and check the manifest below `folder`.

    Raises:
        DataError: it is missing, is no such table, misses a column or a value, is empty, or names
            a slice twice.
    """
    path = folder / "manifest.csv"
    if not path.is_file():
        raise DataError(
            f"Expected a manifest at {path}, but there is none.",
            "Run python scripts/ingest.py with the same data=... first.",
        )
    try:
        # Only an empty cell is empty: a class may be called None.
        slices = pd.read_csv(path, dtype=_TYPES, keep_default_na=False, na_values=[""])
    except ValueError as error:  # pandas' own errors and undecodable bytes are among these
        raise _unreadable(path, f"cannot be read: {error}") from error
    if missing := [column for column in COLUMNS if column not in slices.columns]:
        raise _unreadable(path, f"misses {missing}")
    if slices.empty or slices.duplicated(["path", "frame"]).any():
        raise _unreadable(path, "is empty or names a slice twice")
    if slices[COLUMNS].drop(columns=_MAY_BE_EMPTY).isna().any(axis=None):
        raise _unreadable(path, "has empty cells")
    return slices.fillna({"estimated": "", "window": ""})


def _unreadable(path: Path, problem: str) -> DataError:
    return DataError(
        f"Expected {path} to have one row a slice with {COLUMNS}, but it {problem}.",
        "Run python scripts/ingest.py again; put groups and labels right with data.labels.",
    )


def read_rejected(folder: Path) -> pd.DataFrame:
    """Read the files that ingest refused: path, reason and whether that was expected ("yes").

    Raises:
        DataError: the table is missing.
    """
    path = folder / "rejected.csv"
    if not path.is_file():
        raise DataError(
            f"Expected the table of refused files at {path}, but there is none.",
            "Run python scripts/ingest.py with the same data=... again.",
        )
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def read_boundaries(folder: Path) -> pd.DataFrame:
    """Read the doubtful decisions of scan inference; none where the table is missing."""
    path = folder / "boundaries.csv"
    return pd.read_csv(path) if path.is_file() else pd.DataFrame()


def slice_names(slices: pd.DataFrame) -> pd.Series:
    """Name each slice, `FILE#FRAME`."""
    return slices["path"] + "#" + slices["frame"].astype(str)


def fingerprint(slices: pd.DataFrame) -> str:
    """Return 16 hexadecimal digits that change when any slice, label, scan or patient changes."""
    columns = ["path", "frame", "label", "scan", "patient", "window", "sha256"]
    text = slices[columns].to_csv(index=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
