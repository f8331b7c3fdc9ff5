"""Reader of pictures in a folder a class, as the public CT kidney set has them."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from kidney.data.readers.interface import RawSlice, Refused, Task
from kidney.data.scans.grouping import slice_number
from kidney.errors import ConfigError, ImageError
from kidney.imaging.pictures import PICTURE_SUFFIXES, decode_picture

_FILES_A_TASK = 32


def read(
    raw: Path,
    *,
    classes: Mapping[str, str | int],
    ignore: Sequence[str | int] = (),
    patient: str | None = None,
) -> list[Task]:
    """List the pictures below `raw` in natural order.

    Args:
        raw: the raw folder.
        classes: class name -> name of the folder that holds its slices, at any depth.
        ignore: folders whose files are no slices.
        patient: regular expression with one group that finds the patient in a path, such as
            `(patient_\\d+)/`; None where names do not tell it.

    Raises:
        ConfigError: `patient` is no such expression.
    """
    find = _compiled(patient) if patient else None
    folders = {label: str(folder) for label, folder in classes.items()}  # YAML takes 0 for a number
    found = _listed(raw, folders, list(map(str, ignore)))
    batches = [
        found[start : start + _FILES_A_TASK] for start in range(0, len(found), _FILES_A_TASK)
    ]
    return [partial(_read_files, raw, batch, folders, find) for batch in batches]


def _listed(raw: Path, classes: Mapping[str, str], ignore: Sequence[str]) -> list[tuple[str, str]]:
    """List (path, label) of the pictures; the label is "" outside any class."""
    label_of = {folder: label for label, folder in classes.items()}
    found = []
    for file in raw.rglob("*"):
        path = PurePosixPath(file.relative_to(raw).as_posix())
        wanted = file.suffix.lower() in PICTURE_SUFFIXES and not set(path.parts) & set(ignore)
        if wanted and file.is_file():
            labels = [label_of[part] for part in path.parts[:-1] if part in label_of]
            number = slice_number(str(path))
            order = (str(path.parent), -1 if number is None else number, path.name)
            found.append((order, str(path), labels[-1] if labels else ""))
    return [(path, label) for _, path, label in sorted(found)]


def _read_files(
    raw: Path,
    files: list[tuple[str, str]],
    classes: Mapping[str, str],
    find: re.Pattern[str] | None,
) -> list[RawSlice | Refused]:
    return [_read_file(raw, path, label, classes, find) for path, label in files]


def _read_file(
    raw: Path, path: str, label: str, classes: Mapping[str, str], find: re.Pattern[str] | None
) -> RawSlice | Refused:
    data = (raw / path).read_bytes()
    try:
        pixels = decode_picture(data, path)
    except ImageError as error:
        return Refused(path, error.problem)
    found = find.search(path) if find else None
    return RawSlice(
        path=path,
        label=label,
        pixels=pixels,
        sha256=hashlib.sha256(data).hexdigest(),
        patient=found[1] if found else "",
        doubt=_doubt(path, label, classes),
    )


def _doubt(path: str, label: str, classes: Mapping[str, str]) -> str:
    """Say why folder and file name leave the label open, or return ""."""
    if not label:
        return f"{path} is in no folder of a class ({', '.join(classes.values())})."
    name = PurePosixPath(path).stem
    named = [other for other, folder in classes.items() if _begins_with(name, folder)]
    # Of "Cyst" and "Cyst large", both begin "Cyst large- (1)": the longer name is meant.
    meant = max(named, key=lambda other: len(classes[other]), default=label)
    return f"{path}: the folder says {label}, the name says {meant}." if meant != label else ""


def _begins_with(name: str, folder: str) -> bool:
    """Tell whether the name of a file begins with that of a folder, as a word of its own.

    "normalized" does not begin with "normal"; and digits number the files of any folder.
    """
    word = re.escape(folder) + r"(?![^\W_])"
    return not folder.isdigit() and re.match(word, name, re.IGNORECASE) is not None


def _compiled(patient: str) -> re.Pattern[str]:
    try:
        find = re.compile(patient)
    except re.error as error:
        raise ConfigError(
            f"Expected read.patient to be a regular expression, but {patient!r} is none: {error}.",
            r"Write one with a group around the patient, for example '(patient_\d+)/'.",
        ) from error
    if find.groups != 1:
        raise ConfigError(
            f"Expected read.patient to have one group, but {patient!r} has {find.groups}.",
            r"Put parentheses around what names the patient, for example '(patient_\d+)/'.",
        )
    return find
