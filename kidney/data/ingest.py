"""Source -> raw files -> manifest: the first station."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from kidney.data.cache import write_cache
from kidney.data.manifest import REJECTED_COLUMNS, write_manifest
from kidney.data.scans import infer_scans, slice_number, thumbnail
from kidney.errors import DataError, ImageError
from kidney.files import whole_folder
from kidney.imaging.pictures import PICTURE_SUFFIXES, decode_picture

_FILES_AT_ONCE = 256  # bounds the decoded slices in memory to about 70 MB


@dataclass(frozen=True)
class _Decoded:
    """One raw file after decoding; `slice_` is None where `reason` says why it is refused."""

    path: str
    label: str
    sha256: str
    slice_: NDArray[np.uint8] | None
    reason: str


def ingest(
    folder: Path,
    *,
    fetch: Callable[[Path], None],
    origin: str,
    classes: Mapping[str, str],
    ignore: Sequence[str] = (),
) -> pd.DataFrame:
    """Fetch raw files and write raw/, manifest.csv, rejected.csv and the slice cache.

    Args:
        folder: where the set lives, for example data/ct_kidney; what is there is replaced only
            after the new files have been fetched and read.
        fetch: fills the empty folder that it is given.
        origin: what the manifest says of where the slices came from.
        classes: class name -> name of the folder that holds its slices, in the order of classes.
        ignore: folders whose files are no slices.

    Returns:
        The manifest.

    Raises:
        DataError: the source fails, or no usable slice is found.
    """
    slices: list[dict[str, object]] = []
    rejected: list[dict[str, str]] = []
    thumbnails: list[NDArray[np.uint8]] = []

    def usable(raw: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        for file in _decode_all(raw, _listed(raw, classes, ignore), classes):
            if file.slice_ is None:
                refused = {"path": file.path, "reason": file.reason}
                rejected.append({key: _printable(text) for key, text in refused.items()})
                continue
            height, width = file.slice_.shape
            slices.append(
                {"path": file.path, "label": file.label, "width": width, "height": height}
                | {"sha256": file.sha256, "origin": origin}
            )
            thumbnails.append(thumbnail(file.slice_))
            yield file.sha256, file.slice_
        if not slices:  # raised here, before the cache of an earlier ingest is replaced
            raise DataError(
                f"Expected pictures below folders named {sorted(classes.values())}, but found no "
                f"usable slice in {origin} ({len(rejected)} files refused).",
                "See that data.classes names the folders of the source.",
            )

    with whole_folder(folder / "raw") as raw:
        fetch(raw)
        write_cache(folder, usable(raw))
        manifest = pd.DataFrame(slices)
        manifest["scan"] = infer_scans(manifest, np.stack(thumbnails))
        # Until the new manifest is written there must be none that describes other raw files.
        (folder / "manifest.csv").unlink(missing_ok=True)
    write_manifest(folder, manifest, pd.DataFrame(rejected, columns=REJECTED_COLUMNS))
    return manifest


def _listed(raw: Path, classes: Mapping[str, str], ignore: Sequence[str]) -> list[tuple[str, str]]:
    """List (path, label) of the pictures in natural order; the label is "" outside any class."""
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


def _decode_all(
    raw: Path, listed: list[tuple[str, str]], classes: Mapping[str, str]
) -> Iterator[_Decoded]:
    with ThreadPoolExecutor() as pool, tqdm(total=len(listed), desc="Decode", unit="file") as bar:
        for start in range(0, len(listed), _FILES_AT_ONCE):
            chunk = listed[start : start + _FILES_AT_ONCE]
            yield from pool.map(lambda item: _decode(raw, item[0], item[1], classes), chunk)
            bar.update(len(chunk))


def _decode(raw: Path, path: str, label: str, classes: Mapping[str, str]) -> _Decoded:
    data = (raw / path).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    reason = _misplaced(path, label, classes)
    if not reason:
        try:
            return _Decoded(path, label, digest, decode_picture(data, path), "")
        except ImageError as error:
            reason = error.problem
    return _Decoded(path, label, digest, None, reason)


def _printable(text: str) -> str:
    """Spell out what UTF-8 cannot hold: bytes of a file name that are no UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def _misplaced(path: str, label: str, classes: Mapping[str, str]) -> str:
    """Say why folder and file name disagree about the label, or return ""."""
    if _printable(path) != path:
        return f"{path} is a name in no known encoding; rename the file."
    if not label:
        return f"{path} is in no folder of a class ({', '.join(classes.values())})."
    name = PurePosixPath(path).stem.lower()
    others = [o for o, folder in classes.items() if o != label and name.startswith(folder.lower())]
    return f"{path}: the folder says {label}, the name says {others[0]}." if others else ""
