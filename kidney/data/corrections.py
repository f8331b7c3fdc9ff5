"""What a team knows better than its files: a CSV whose values win over what was read or inferred.

Columns: path and any of label, scan, patient, phase. A path names a file below the raw folder, one
slice of a file (`FILE#12`, from 0) or a folder with all that is below it; the closest row wins, an
empty cell changes nothing. The path and scan columns of manifest.csv are such a table: copy them,
put wrong groups right, and name the file in data.corrections.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import pandas as pd

from kidney.errors import DataError

COLUMNS = ("label", "scan", "patient", "phase")
_REMEDY = "Give a CSV with a column path and any of label, scan, patient, phase."

Corrections = Mapping[str, Mapping[str, str]]


def read_corrections(file: Path | str | None) -> Corrections:
    """Read the table: path -> column -> value; nothing for None.

    Raises:
        DataError: the file is missing, is no CSV, has other columns or names a path twice.
    """
    if file is None:
        return {}
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DataError(f"Expected corrections in {file}, but: {error}.", _REMEDY) from error
    table = table.rename(columns=str.strip)
    known = [column for column in COLUMNS if column in table]
    extra = sorted(set(map(str, table)) - {"path", *COLUMNS})
    if "path" not in table or not known or extra:
        raise DataError(
            f"Expected {file} to have path and any of {', '.join(COLUMNS)}, but its columns are "
            f"{list(table)}.",
            _REMEDY,
        )
    # Folders may be written with a slash at their end.
    table["path"] = table["path"].str.strip().str.rstrip("/")
    if twice := table["path"][table["path"].duplicated()].to_list():
        raise DataError(f"{file} names {twice[:3]} more than once.", "Keep one row a path.")
    rows = table.set_index("path")[known].to_dict("index")
    return {
        str(path): {str(c): value.strip() for c, value in row.items() if value.strip()}
        for path, row in rows.items()
    }


def corrected(corrections: Corrections, path: str, frame: int) -> dict[str, str]:
    """Return what the table says of one slice, folders first and the slice itself last."""
    if not corrections:
        return {}
    file = PurePosixPath(path)
    said: dict[str, str] = {}
    for name in (*map(str, reversed(file.parents)), path, f"{path}#{frame}"):
        said |= corrections.get(name, {})
    return said


def unused(corrections: Corrections, seen: Iterable[tuple[str, int]]) -> list[str]:
    """Name the rows of the table that speak of none of the slices (path, frame)."""
    names: set[str] = set()
    for path, frame in seen:
        if path not in names:
            names |= {path, *map(str, PurePosixPath(path).parents)}
        names.add(f"{path}#{frame}")
    return sorted(set(corrections) - names)
