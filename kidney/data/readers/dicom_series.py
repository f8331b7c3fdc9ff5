"""CT series of DICOM files: one scan a series, labelled by the folder of a class.

The ids of a hospital never leave this module. Scans and patients are called by a keyed hash of
theirs (`kidney.imaging.deidentify`), and the same key gives the same names at each ingest.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from kidney.data.readers.interface import RawSlice, Refused, Task
from kidney.errors import ImageError
from kidney.imaging.deidentify import pseudonym, read_key
from kidney.imaging.dicom import DicomHeader, read_dicom, read_header
from kidney.imaging.dicom_order import Series, group_series
from kidney.imaging.windows import Window, to_grey, window_named

_FILES_A_TASK = 16  # of one frame each; a file of many frames is a task of its own
_NO_DICOM = {".csv", ".tsv", ".txt", ".json", ".xml", ".yaml", ".md", ".html", ".pdf", ".xlsx"}
_NO_DICOM_NAMES = {"DICOMDIR", "LICENSE", "Thumbs.db", ".DS_Store"}


@dataclass(frozen=True)
class _Scan:
    """What the slices of a series share, with no id of a hospital in it."""

    scan: str
    patient: str
    phase: str
    plane: str
    slice_mm: float  # NaN where positions do not tell it


def read(raw: Path, *, classes: Mapping[str, str | int], window: str = "abdomen") -> list[Task]:
    """List the CT series below `raw`, head first, a few files a task.

    The key of the hashes is the environment variable KIDNEY_SALT. Without it, it is the file
    `salt` beside the raw folder, which is made once: it belongs to the data set's folder and stays
    there when the raw files are replaced. Who has it can look up a patient, so it is as secret as
    the source; two sets name a patient alike only if they share it.

    Args:
        raw: the raw folder. Files lie at any depth, with any suffix or none; names of files and
            folders are kept, so they must not name patients.
        classes: class name -> name of the folder that holds its series.
        window: name or width/level in HU.

    Raises:
        ConfigError: an unknown window, or a key that can be guessed.
    """
    shown = window_named(window)
    folders = {label: str(folder) for label, folder in classes.items()}  # YAML takes 0 for a number
    headers: dict[str, DicomHeader] = {}
    refused: list[Refused] = []
    for path in tqdm(_files(raw), desc="Headers", unit="file"):
        try:
            headers[path] = read_header(raw / path, path)
        except ImageError as error:
            refused.append(Refused(path, error.problem))
    series, others = group_series(list(headers.items()))
    refused += [Refused(path, f"{path}: {reason}.", expected=True) for path, reason in others]
    tasks: list[Task] = [lambda: refused] if refused else []
    key = read_key(raw.parent) if series else b""
    patients = _patients(series)
    for one in series:
        scan = _scan(one, one.patient_id or patients.get(one.study_uid, ""), key)
        for names in _batches(one.names, headers):
            tasks.append(partial(_read_files, raw, names, scan, folders, shown))
    return tasks


def _files(raw: Path) -> list[str]:
    """List all files that may be DICOM, as sorted POSIX paths: many have no suffix or a UID's."""
    return sorted(
        file.relative_to(raw).as_posix()
        for file in raw.rglob("*")
        if file.is_file()
        and file.name not in _NO_DICOM_NAMES
        and file.suffix.lower() not in _NO_DICOM
    )


def _batches(names: Sequence[str], headers: Mapping[str, DicomHeader]) -> Iterator[list[str]]:
    """Cut a series into the files of one task each."""
    batch: list[str] = []
    for name in names:
        batch.append(name)
        if len(batch) == _FILES_A_TASK or headers[name].frames > 1:
            yield batch
            batch = []
    if batch:
        yield batch


def _read_files(
    raw: Path, names: Sequence[str], scan: _Scan, classes: Mapping[str, str], window: Window
) -> list[RawSlice | Refused]:
    found: list[RawSlice | Refused] = []
    for name in names:
        try:
            found += _read_file(raw, name, scan, classes, window)
        except ImageError as error:
            found.append(Refused(name, error.problem))
    return found


def _read_file(
    raw: Path, name: str, scan: _Scan, classes: Mapping[str, str], window: Window
) -> Iterator[RawSlice | Refused]:
    data = (raw / name).read_bytes()
    image = read_dicom(data, name)
    if image.header.doubts:
        yield Refused(name, f"{name} is doubtful: {'; '.join(image.header.doubts)}.")
        return
    parts = PurePosixPath(name).parts[:-1]
    labels = [label for part in parts for label, folder in classes.items() if folder == part]
    doubt = f"{name} is in no folder of a class ({', '.join(classes.values())})."
    for frame, hu in enumerate(image.hu):
        pixels = to_grey(hu, window)
        yield RawSlice(
            path=name,
            label=labels[-1] if labels else "",
            pixels=pixels,
            sha256=hashlib.sha256(data if len(image.hu) == 1 else pixels.tobytes()).hexdigest(),
            frame=frame,
            scan=scan.scan,
            patient=scan.patient,
            phase=scan.phase,
            plane=scan.plane,
            window=str(window),
            pixel_mm=image.header.pixel_mm,
            slice_mm=image.header.slice_mm if math.isnan(scan.slice_mm) else scan.slice_mm,
            doubt="" if labels else doubt,
        )


def _patients(series: Sequence[Series]) -> dict[str, str]:
    """Say whose each study is: its first id of a patient, or the study's own id where all lack one.

    Anonymisers blank ids, of all files or of some, and a study is of one patient all the same.
    """
    found: dict[str, str] = {}
    for one in series:
        if one.study_uid:
            found[one.study_uid] = found.get(one.study_uid) or one.patient_id
    return {study: patient or study for study, patient in found.items()}


def _scan(series: Series, patient: str, key: bytes) -> _Scan:
    # As group_series puts files together: some anonymisers blank the series, or repeat it.
    what = series.series_uid or str(PurePosixPath(series.names[0]).parent)
    stack = f" {series.stack}" if series.stack else ""
    return _Scan(
        scan=pseudonym(key, f"{series.study_uid} {what} {series.patient_id}{stack}"),
        patient=pseudonym(key, patient),
        phase=series.contrast,
        plane=series.plane,
        slice_mm=series.slice_mm,
    )
