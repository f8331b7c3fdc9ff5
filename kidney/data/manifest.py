"""The manifest: one row a slice, the only list of slices that later stages read.

Columns: path (below the raw folder, POSIX), label, scan, width and height in pixels, sha256 of the
file, origin (the source it came from). Rows are in natural order, so slices of one scan are
neighbours. Files that are no usable slices are in rejected.csv with the reason.
"""

import hashlib
from pathlib import Path

import pandas as pd

from kidney.errors import DataError
from kidney.files import write_text

COLUMNS = ["path", "label", "scan", "width", "height", "sha256", "origin"]
REJECTED_COLUMNS = ["path", "reason"]
_TYPES = dict.fromkeys(COLUMNS, str) | {"width": "int64", "height": "int64"}


def write_manifest(folder: Path, slices: pd.DataFrame, rejected: pd.DataFrame) -> None:
    """Write manifest.csv and rejected.csv below `folder`, each whole or not at all."""
    write_text(folder / "rejected.csv", rejected[REJECTED_COLUMNS].to_csv(index=False))
    write_text(folder / "manifest.csv", slices[COLUMNS].to_csv(index=False))


def read_manifest(folder: Path) -> pd.DataFrame:
    """Read and check the manifest below `folder`.

    Raises:
        DataError: it is missing, is no such table, misses a column or a value, is empty, or names
            a path twice.
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
    if slices.empty or slices["path"].duplicated().any():
        raise _unreadable(path, "is empty or names a path twice")
    if slices[COLUMNS].isna().any(axis=None):
        raise _unreadable(path, "has empty cells")
    return slices


def _unreadable(path: Path, problem: str) -> DataError:
    return DataError(
        f"Expected {path} to have one row a slice with {COLUMNS}, but it {problem}.",
        "Run python scripts/ingest.py again; do not edit the manifest by hand.",
    )


def read_rejected(folder: Path) -> pd.DataFrame:
    """Read the files that ingest refused: path and reason.

    Raises:
        DataError: the table is missing.
    """
    path = folder / "rejected.csv"
    if not path.is_file():
        raise DataError(
            f"Expected the table of refused files at {path}, but there is none.",
            "Run python scripts/ingest.py with the same data=... again.",
        )
    return pd.read_csv(path, dtype=str)


def fingerprint(slices: pd.DataFrame) -> str:
    """Return 16 hexadecimal digits that change when any slice, label or scan changes."""
    text = slices[["path", "label", "scan", "sha256"]].to_csv(index=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
