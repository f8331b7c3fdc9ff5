"""Source -> raw files -> manifest: the first stage."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from kidney.data.cache import Decoded, open_thumbnails, write_cache
from kidney.data.corrections import Corrections, corrected, read_corrections, unmatched_rows
from kidney.data.manifest import REJECTED_COLUMNS, write_manifest
from kidney.data.readers.interface import RawSlice, Reader, Refused, Task
from kidney.data.scans.describe import describe
from kidney.errors import DataError
from kidney.files import whole_folder
from kidney.imaging.appearance import thumbnail

_THREADS = 2  # at least: decoding and writing overlap also on one core
_TASKS_AHEAD = 2  # a thread; bounds the decoded slices in memory
Found = RawSlice | Refused


def ingest(
    folder: Path,
    *,
    fetch: Callable[[Path], None],
    read: Reader,
    origin: str,
    classes: Sequence[str],
    corrections: Path | str | None = None,
) -> pd.DataFrame:
    """Fetch raw files and write raw/, manifest.csv, rejected.csv, boundaries.csv and the caches.

    Args:
        folder: where the set lives, for example data/ct_kidney; what is there is replaced only
            after the new files have been fetched and read.
        fetch: fills the empty folder that it is given.
        read: lists the work of reading that folder; see kidney.data.readers.interface.
        origin: what the manifest says of where the slices came from.
        classes: the labels that slices may have.
        corrections: a CSV whose values win; see kidney.data.corrections.

    Returns:
        The manifest.

    Raises:
        DataError: the source fails, no usable slice is found, or the corrections do not fit.
    """
    known = read_corrections(corrections)  # before hours of fetching
    with whole_folder(folder / "raw") as raw:
        fetch(raw)
        sorter = _Sorter(known, list(classes))
        write_cache(folder, sorter.usable(_run_all(read(raw))))
        slices = pd.DataFrame(sorter.rows)
        if known and (missed := unmatched_rows(known, sorter.seen)):
            raise DataError(
                f"Expected every path of {corrections} to be that of one file or a folder, but "
                f"{missed[:3]} are not.",
                f"Write paths as in {folder / 'manifest.csv'}.",
            )
        slices["origin"] = origin
        manifest, doubtful = describe(slices, open_thumbnails(folder, slices))
        # Until the new manifest is written there must be none that describes other raw files.
        (folder / "manifest.csv").unlink(missing_ok=True)
    rejected = pd.DataFrame(sorter.rejected, columns=REJECTED_COLUMNS)
    write_manifest(folder, manifest, rejected, doubtful)
    return manifest


@dataclass
class _Sorter:
    """Sorts what readers find into rows of the manifest and refused files."""

    corrections: Corrections
    classes: list[str]
    rows: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[dict[str, str]] = field(default_factory=list)
    seen: list[tuple[str, int]] = field(default_factory=list)

    def usable(self, found: Iterator[tuple[Found, NDArray[np.uint8] | None]]) -> Iterator[Decoded]:
        """Yield (row, slice, thumbnail) of what can be used, and keep the rest as refused.

        Raises:
            DataError: nothing can be used; so the cache of an earlier ingest is not replaced.
        """
        for item, small in found:
            self.seen.append((item.path, 0 if isinstance(item, Refused) else item.frame))
            reason = item.reason if isinstance(item, Refused) else self._doubt(item)
            if isinstance(item, Refused) or reason or small is None:
                expected = isinstance(item, Refused) and item.expected
                row = {"path": item.path, "reason": reason, "expected": "yes" if expected else ""}
                self.rejected.append({name: _printable(text) for name, text in row.items()})
                continue
            row = _row(item) | corrected(self.corrections, item.path, item.frame)
            self.rows.append(row)
            yield row, item.pixels, small
        if not self.rows:
            reasons = "; ".join(row["reason"] for row in self.rejected[:2])
            raise DataError(
                f"Expected slices of {', '.join(self.classes)}, but found no usable one "
                f"({len(self.rejected)} files refused{': ' if reasons else ''}{reasons}).",
                "See that data=... fits the source, and that data.classes names its folders.",
            )

    def _doubt(self, item: RawSlice) -> str:
        if not item.path.isprintable():
            return f"{item.path!r} is no name that a table can hold; rename the file."
        if item.pixels.min() == item.pixels.max():
            return f"{item.path} is of one grey everywhere."
        known = corrected(self.corrections, item.path, item.frame).get("label")
        if known is None and item.doubt:
            return item.doubt
        label = known or item.label
        if label not in self.classes:
            problem = f"has the label {label!r}" if label else "has no label"
            return f"{item.path} {problem}, but classes are {', '.join(self.classes)}."
        return ""


def _row(item: RawSlice) -> dict[str, Any]:
    height, width = item.pixels.shape
    return {
        "path": item.path, "frame": item.frame, "label": item.label, "scan": item.scan,
        "patient": item.patient, "phase": item.phase, "plane": item.plane, "window": item.window,
        "pixel_mm": item.pixel_mm, "slice_mm": item.slice_mm, "width": width, "height": height,
        "sha256": item.sha256,
    }  # fmt: skip


def _run_all(tasks: Sequence[Task]) -> Iterator[tuple[Found, NDArray[np.uint8] | None]]:
    """Run the tasks on all cores; yield what they find, with its thumbnail, in their order."""
    threads = max(os.cpu_count() or 1, _THREADS)
    running: deque[Future[list[tuple[Found, NDArray[np.uint8] | None]]]] = deque()
    with ThreadPoolExecutor(threads) as pool, tqdm(total=len(tasks), desc="Read") as bar:
        try:
            for task in tasks:
                running.append(pool.submit(_run, task))
                if len(running) > threads * _TASKS_AHEAD:
                    yield from running.popleft().result()
                    bar.update()
            while running:
                yield from running.popleft().result()
                bar.update()
        finally:  # also where the reader of this generator fails: do not run the rest first
            for future in running:
                future.cancel()


def _run(task: Task) -> list[tuple[Found, NDArray[np.uint8] | None]]:
    return [
        (item, thumbnail(item.pixels) if isinstance(item, RawSlice) else None) for item in task()
    ]


def _printable(text: str) -> str:
    """Spell out what a table cannot hold: ends of lines, and bytes that are no UTF-8."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
