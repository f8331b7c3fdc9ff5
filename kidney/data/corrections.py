"""What a team knows better than its files: a CSV whose values win over what was read or inferred.

Columns: path (or file) and any of label, scan, patient, phase. A path names a file below the raw
folder, by all of its path or by an end of it that no other file has; one slice of a file (`FILE#12`
from 0, or `FILE` and 12 in a column frame); or a folder with all that is below it. The closest row
wins, an empty cell changes nothing. The path, frame and scan columns of manifest.csv are such a
table: copy them, put wrong groups right, and name the file in data.labels.
"""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from kidney.errors import DataError

COLUMNS = ("label", "scan", "patient", "phase")
PHASES = ("enhanced", "plain")
_REMEDY = "Give a CSV with a column path and any of label, scan, patient, phase."

Corrections = Mapping[str, Mapping[str, str]]


def read_corrections(file: Path | str | None) -> Corrections:
    """Read the table: path -> column -> value; nothing for None.

    Raises:
        DataError: the file is missing, is no CSV, has other columns or one of them twice, a row
            that is longer than the header, a path twice, or a frame or phase that is none.
    """
    if file is None:
        return {}
    lines = _lines(file)
    header = ["path" if name == "file" else name for name in (lines[0][1] if lines else [])]
    extra = set(header) - {"path", "frame", *COLUMNS}
    if "path" not in header or not set(header) & set(COLUMNS) or extra:
        raise DataError(
            f"Expected {file} to have path and any of {', '.join(COLUMNS)}, but its columns are "
            f"{header}.",
            _REMEDY,
        )
    if len(set(header)) < len(header):
        raise DataError(f"Expected each column of {file} once, got {header}.", "Keep one of each.")
    table: dict[str, dict[str, str]] = {}
    for number, cells in lines[1:]:
        if len(cells) > len(header):
            raise DataError(
                f"Expected at most {len(header)} cells in line {number} of {file}, as its header "
                f"has them, got {len(cells)}.",
                "Put quotation marks around a cell that holds a comma.",
            )
        row = dict(zip(header, cells, strict=False))  # empty cells at the end are cut off
        name = _name(row, f"line {number} of {file}")
        if name in table:
            raise DataError(f"{file} names {name} more than once.", "Keep one row a path.")
        table[name] = {column: row[column] for column in COLUMNS if row.get(column)}
    return table


def corrected(corrections: Corrections, path: str, frame: int) -> dict[str, str]:
    """Return what the table says of one slice, folders first and the slice itself last."""
    if not corrections:
        return {}
    file = PurePosixPath(path)
    values: dict[str, str] = {}
    for name in (*map(str, reversed(file.parents)), *_ends(file, frame)):
        values |= corrections.get(name, {})
    return values


def unmatched_rows(corrections: Corrections, slices: Iterable[tuple[str, int]]) -> list[str]:
    """Name the rows that speak of none of the slices (path, frame), or of files in two folders."""
    folders: set[str] = set()
    files_of: dict[str, set[str]] = {}
    for path, frame in slices:
        file = PurePosixPath(path)
        folders |= set(map(str, file.parents))
        for name in _ends(file, frame):
            if name in corrections:
                files_of.setdefault(name, set()).add(path)
    return sorted(
        name for name in corrections if name not in folders and len(files_of.get(name, ())) != 1
    )


def _ends(file: PurePosixPath, frame: int) -> list[str]:
    """List the ends of a path, `c.png` to `a/b/c.png`: tables rarely know how archives nest."""
    ends = ["/".join(file.parts[start:]) for start in range(len(file.parts) - 1, -1, -1)]
    return [*ends, *(f"{end}#{frame}" for end in ends)]


def _lines(file: Path | str) -> list[tuple[int, list[str]]]:
    """Read the cells of each line and its number; spreadsheets add empty lines and cells."""
    found = []
    try:
        with Path(str(file)).expanduser().open(encoding="utf-8-sig", newline="") as content:
            reader = csv.reader(content, strict=True)
            for row in reader:
                cells = [cell.strip() for cell in row]
                while cells and not cells[-1]:
                    cells.pop()
                if cells:
                    found.append((reader.line_num, cells))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"Expected corrections in {file}, but: {error}.", _REMEDY) from error
    return found


def _name(row: Mapping[str, str], where: str) -> str:
    """Name what a row speaks of, once its frame and its phase are what they can be."""
    frame, phase = row.get("frame", ""), row.get("phase", "")
    if frame and not (frame.isascii() and frame.isdigit()):
        raise DataError(
            f"Expected the frame in {where} to be a whole number, got {frame!r}.",
            "Count slices from 0, or leave the cell empty for the whole file.",
        )
    if phase and phase not in PHASES:
        raise DataError(
            f"Expected the phase in {where} to be enhanced or plain, got {phase!r}.",
            "Write one of the two, or leave the cell empty.",
        )
    path = row.get("path", "").rstrip("/")  # folders may be written with a slash at their end
    return f"{path}#{int(frame)}" if frame else path
