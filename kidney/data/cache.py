"""Slices decoded once: one flat uint8 file, memory-mapped and shared by all workers.

The file's name carries a hash of the slices' own hashes, so a file that exists is whole and fits.
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kidney.errors import DataError
from kidney.imaging.pictures import decode_picture


class SliceCache:
    """The slices of a manifest by row number, at their original size.

    Args:
        path: the flat file.
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


def write_cache(folder: Path, decoded: Iterable[tuple[str, NDArray[np.uint8]]]) -> None:
    """Write the cache of `decoded` (sha256 of the file, slice) below `folder`, whole or not at all.

    Caches of other contents in the folder are removed.
    """
    temporary = folder / f".slices.{os.getpid()}.partial"
    try:
        digests = []
        with temporary.open("wb") as file:
            for digest, slice_ in decoded:
                file.write(np.ascontiguousarray(slice_).data)
                digests.append(digest)
        path = folder / _file_name(digests)
        temporary.replace(path)
        for stale in set(folder.glob("slices-*.u8")) - {path}:
            stale.unlink(missing_ok=True)  # another process may be writing the same cache
    finally:
        temporary.unlink(missing_ok=True)


def open_cache(folder: Path, slices: pd.DataFrame) -> SliceCache:
    """Open the cache of the manifest `slices`; decode the raw files again if there is none.

    Raises:
        DataError: a raw file is gone or no longer the one that was ingested.
    """
    path = folder / _file_name(slices["sha256"])
    if not path.is_file():
        files = zip(slices["path"], slices["sha256"], strict=True)
        write_cache(folder, (_read_raw(folder / "raw" / name, sha256) for name, sha256 in files))
    return SliceCache(path, slices[["height", "width"]].to_numpy(np.int64))


def _file_name(digests: Iterable[str]) -> str:
    return f"slices-{hashlib.sha256(''.join(digests).encode()).hexdigest()[:16]}.u8"


def _read_raw(path: Path, sha256: str) -> tuple[str, NDArray[np.uint8]]:
    data = path.read_bytes() if path.is_file() else b""
    digest = hashlib.sha256(data).hexdigest()
    if digest != sha256:
        raise DataError(
            f"Expected {path} to be the file that was ingested, but it is gone or changed.",
            "Run python scripts/ingest.py again.",
        )
    return digest, decode_picture(data, str(path))
