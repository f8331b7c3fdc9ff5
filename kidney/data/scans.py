"""Which slices belong to one scan, where no patient ids are given.

Files are numbered, and consecutive numbers are neighbouring slices. On `ct-kidney-part` (2,143
slices) 98 % of consecutive slices of a class correlate above 0.98 as thumbnails, and what lies
below is a change of scan; slices of different classes never correlate above 0.87. A scan that is
cut in two can put neighbours into training and test and inflates every figure, while two scans
joined into one only cost a little data. So both thresholds lie on the side of joining.
"""

import re
from collections import Counter
from itertools import pairwise
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

THUMBNAIL_SIDE = 96
SAME_SCAN = 0.80  # consecutive numbers correlate above this: the scan goes on
LINKED = 0.90  # any two slices of two runs correlate above this: the runs are one scan
_ROWS_AT_ONCE = 1024


def thumbnail(slice_: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink a slice (H, W) to uint8 (96, 96) by area averages."""
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    return np.asarray(Image.fromarray(slice_).resize(side, Image.Resampling.BOX))


def slice_number(path: str) -> int | None:
    """Return the last number in a file's name, `Cyst- (12).jpg` -> 12, or None."""
    digits = re.findall(r"\d+", PurePosixPath(path).stem)
    return int(digits[-1]) if digits else None


def infer_scans(slices: pd.DataFrame, thumbnails: NDArray[np.uint8]) -> list[str]:
    """Name the scan of each slice.

    Args:
        slices: columns path and label; any order.
        thumbnails: uint8 (N, 96, 96), row by row those of `slices`.

    Returns:
        N names, `LABEL-FIRSTNUMBER` of the scan's first slice, for example `cyst-0012`; where
        another folder's scan has that name already, `cyst-0012-2`. A slice without a number is a
        scan of its own until similarity links it to another.
    """
    unit = _unit_vectors(thumbnails)
    paths = list(slices["path"])
    numbers = [slice_number(path) for path in paths]
    folders = [str(PurePosixPath(path).parent) for path in paths]
    names = [""] * len(slices)
    for label in sorted(slices["label"].unique()):
        rows = np.flatnonzero(slices["label"].to_numpy() == label)
        # Unnumbered slices sort last; the path breaks ties, so the order is always the same.
        rows = np.array(
            sorted(rows, key=lambda r: (folders[r], numbers[r] is None, numbers[r] or 0, paths[r]))
        )
        runs = _runs([numbers[r] for r in rows], [folders[r] for r in rows], unit[rows])
        groups = _link(runs, unit[rows])
        taken: Counter[str] = Counter()
        for group in np.unique(groups):
            places = np.flatnonzero(groups == group)
            first = numbers[rows[places[0]]]
            name = f"{label}-{first:04d}" if first is not None else f"{label}-x{places[0]:04d}"
            taken[name] += 1
            for row in rows[places]:
                names[row] = name if taken[name] == 1 else f"{name}-{taken[name]}"
    return names


def _unit_vectors(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Centre and scale each thumbnail, so that a dot product is Pearson's correlation."""
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6))


def _runs(
    numbers: list[int | None], folders: list[str], unit: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Number the runs of consecutive, similar slices: (n,) ascending from 0."""
    neighbour = np.einsum("ij,ij->i", unit[1:], unit[:-1])
    starts = [
        before is None
        or after != before + 1
        or folders[i] != folders[i + 1]
        or neighbour[i] < SAME_SCAN
        for i, (before, after) in enumerate(pairwise(numbers))
    ]
    return np.concatenate([[0], np.cumsum(starts)]).astype(np.int64)


def _link(runs: NDArray[np.int64], unit: NDArray[np.float32]) -> NDArray[np.int64]:
    """Join runs of which any two slices are nearly the same; returns a group number a slice."""
    first: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    second: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    for start in range(0, len(unit), _ROWS_AT_ONCE):
        a, b = np.nonzero(unit[start : start + _ROWS_AT_ONCE] @ unit.T > LINKED)
        first.append(runs[a + start])
        second.append(runs[b])
    pairs = np.unique(np.stack([np.concatenate(first), np.concatenate(second)]), axis=1)
    count = int(runs[-1]) + 1
    graph = coo_matrix((np.ones(pairs.shape[1]), (pairs[0], pairs[1])), shape=(count, count))
    groups = connected_components(graph, directed=False)[1]
    return np.asarray(groups[runs], dtype=np.int64)
