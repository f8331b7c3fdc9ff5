"""Slices decoded once: one flat uint8 file, memory-mapped and shared by all workers.

A second file of the same kind holds their thumbnails, which is all that validation looks at. Both
names carry a hash of what was decoded and how, so a file that exists is whole and fits.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kidney.errors import DataError
from kidney.imaging.appearance import THUMBNAIL_SIDE, thumbnail
from kidney.imaging.slices import read_slices
from kidney.imaging.windows import window_named

CACHED = ("path", "frame", "window", "sha256")  # the columns that say what a slice's pixels are


class SliceCache:
    """The slices of a manifest by row number, at their original size.

    Args:
        shapes: int64 (N, 2), height and width of each slice in the manifest's order.
    """

    def __init__(self, path: Path, shapes: NDArray[np.int64]) -> None:
        self._path, self._shapes = path, shapes
        self._ends = np.cumsum(shapes.prod(axis=1))
        self._pixels = np.memmap(path, dtype=np.uint8, mode="r")

    def __len__(self) -> int:
        return len(self._shapes)

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        """Return slice `row` as a read-only uint8 view (H, W)."""
        height, width = self._shapes[row]
        end = self._ends[row]
        return self._pixels[end - height * width : end].reshape(height, width)

    def __reduce__(self) -> tuple[type["SliceCache"], tuple[Path, NDArray[np.int64]]]:
        # A worker process opens the file again: pickling a memmap would copy the whole set.
        return SliceCache, (self._path, self._shapes)


Decoded = tuple[Mapping[str, Any], NDArray[np.uint8], NDArray[np.uint8]]


def write_cache(folder: Path, decoded: Iterable[Decoded]) -> None:
    """Write the caches of `decoded` below `folder`, whole or not at all.

    Caches of other contents in the folder are removed.

    Args:
        decoded: (row with the columns CACHED, slice (H, W), its thumbnail) in the manifest's order.
    """
    partial = {kind: folder / f".{kind}.{os.getpid()}.partial" for kind in ("slices", "thumbnails")}
    digest = hashlib.sha256()
    try:
        with partial["slices"].open("wb") as slices, partial["thumbnails"].open("wb") as thumbnails:
            for row, slice_, small in decoded:
                slices.write(np.ascontiguousarray(slice_).data)
                thumbnails.write(np.ascontiguousarray(small).data)
                digest.update(_line(row))
        for kind, file in partial.items():
            path = folder / _file_name(kind, digest.hexdigest())
            file.replace(path)
            for stale in set(folder.glob(f"{kind}-*.u8")) - {path}:
                stale.unlink(missing_ok=True)  # another process may be writing the same cache
    finally:
        for file in partial.values():
            file.unlink(missing_ok=True)


def open_cache(folder: Path, slices: pd.DataFrame) -> SliceCache:
    """Open the cache of the manifest `slices`; decode the raw files again if there is none.

    Raises:
        DataError: a raw file is gone or no longer the one that was ingested.
    """
    path = _path_of("slices", folder, slices)
    return SliceCache(path, slices[["height", "width"]].to_numpy(np.int64))


def open_thumbnails(folder: Path, slices: pd.DataFrame) -> NDArray[np.uint8]:
    """Open the thumbnails uint8 (N, 96, 96) of the manifest `slices`, like `open_cache`."""
    path = _path_of("thumbnails", folder, slices)
    shape = (len(slices), THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    return np.memmap(path, dtype=np.uint8, mode="r", shape=shape)


def _path_of(kind: str, folder: Path, slices: pd.DataFrame) -> Path:
    rows: list[dict[str, Any]] = slices[list(CACHED)].to_dict("records")  # type: ignore[assignment]
    digest = hashlib.sha256(b"".join(map(_line, rows))).hexdigest()
    path = folder / _file_name(kind, digest)
    if not path.is_file():
        write_cache(folder, _decode_again(folder / "raw", rows))
    return path


def _line(row: Mapping[str, Any]) -> bytes:
    # Not the path: a file that moves is the same slice.
    return f"{row['sha256']} {row['frame']} {row['window']}\n".encode()


def _file_name(kind: str, digest: str) -> str:
    return f"{kind}-{digest[:16]}.u8"


def _decode_again(raw: Path, rows: list[dict[str, Any]]) -> Iterator[Decoded]:
    for name, group in groupby(rows, key=lambda row: row["path"]):
        path, wanted = raw / name, list(group)
        if not path.is_file():
            raise _changed(path)
        window = wanted[0]["window"]
        found = read_slices(path, window_named(window) if window else None, str(path))
        whole = hashlib.sha256(path.read_bytes()).hexdigest() if len(found) == 1 else ""
        for row in wanted:
            if row["frame"] >= len(found):
                raise _changed(path)
            pixels = found[row["frame"]]
            if row["sha256"] not in (whole, hashlib.sha256(pixels.tobytes()).hexdigest()):
                raise _changed(path)
            yield row, pixels, thumbnail(pixels)


def _changed(path: Path) -> DataError:
    return DataError(
        f"Expected {path} to be the file that was ingested, but it is gone or changed.",
        "Run python scripts/ingest.py again.",
    )
