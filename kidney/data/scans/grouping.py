"""Which slices belong to one scan, where no patient ids are given.

Files are numbered, and consecutive numbers are neighbouring slices. On `ct-kidney-part` (2,143
slices) 98 % of consecutive slices of a class correlate above 0.98 as thumbnails, and what lies
below is a change of scan or a few slices left out. A scan that is cut in two can put neighbours
into training and test and inflates every figure, while two scans joined into one only cost a
little data. So the thresholds lie on the side of joining. `kidney.data.scans.boundaries` lists the
decisions that are worth a look. Throughout `scans`, `slices` has the columns path and label in any
order, and `thumbnails` are uint8 (N, 96, 96), row by row those of `slices`.
"""

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from kidney.data.scans.similarity import alike_runs, correlation

# The next slice correlates above this: the scan goes on. Looked at by eye on `ct-kidney-part`, the
# next slice of the same scan is at 0.82 or more (once at 0.794), that of another at 0.78 or less.
SAME_SCAN = 0.80
# So many numbers on is still the next slice: files are left out of a set, and two slices of a scan
# that lie 20 apart correlate at 0.85 (median), so that LINKED would often miss them.
MOST_SKIPPED = 20
# Any two slices of two runs correlate above this: the runs are one scan. On `ct-kidney-part` the
# closest slices of two scans correlate at 0.83 within a class and at 0.86 between classes; a set
# six times as large will have closer ones.
LINKED = 0.90


_LAST_NUMBER = re.compile(r"\d+(?=\D*$)")


@dataclass(frozen=True)
class Chain:
    """The slices in order, and what holds them together; places count in that order."""

    rows: NDArray[np.int64]  # (N,) row of the slice at each place, by label, series and number
    similarity: NDArray[np.float32]  # (N - 1,) correlation of places i and i + 1, in [-1, 1]
    # (N,) run of each place, ascending from 0: next slices by number, above SAME_SCAN
    runs: NDArray[np.int64]
    # (L, 2) places of the closest slices of two runs of one label, above LINKED
    links: NDArray[np.int64]
    link_similarity: NDArray[np.float32]  # (L,) their correlation
    # (N,) scan of each place, ascending from 0 in the order of their first slices
    scans: NDArray[np.int64]


def slice_number(path: str) -> int | None:
    """Return the last number in a file's name, `Cyst- (12).jpg` -> 12, or None."""
    return split_name(path)[1]


def split_name(path: str) -> tuple[str, int | None]:
    """Split a path into its series and its number: `a/p3_slice_007.png` -> `a/p3_slice_*`, 7.

    Numbers are consecutive within a series only: patient 3's slice 8 does not follow patient 2's
    slice 7. A name that wrongly sets slices apart does little harm, as likeness links them again.
    """
    folder, slash, name = path.rpartition("/")
    stem = name.rpartition(".")[0] or name
    found = _LAST_NUMBER.search(stem)
    if not found:
        return folder + slash + stem, None
    return f"{folder}{slash}{stem[: found.start()]}*{stem[found.end() :]}", int(found[0])


def scan_names(found: Chain, slices: pd.DataFrame) -> list[str]:
    """Name the scan of each slice.

    Returns:
        N names, `LABEL-FIRSTNUMBER` of the scan's first slice, for example `cyst-0012`; where
        another series' scan has that name already, `cyst-0012-2`. A slice without a number is a
        scan of its own until similarity links it to another.
    """
    paths, labels = list(slices["path"]), list(slices["label"])
    names = [""] * len(slices)
    taken: Counter[str] = Counter()
    places_before: Counter[str] = Counter()  # of the same label
    name_of: dict[int, str] = {}
    for row, scan in zip(found.rows.tolist(), found.scans.tolist(), strict=True):
        label = labels[row]
        if scan not in name_of:
            number = slice_number(paths[row])
            first = f"x{places_before[label]:04d}" if number is None else f"{number:04d}"
            name = f"{label}-{first}"
            taken[name] += 1
            name_of[scan] = name if taken[name] == 1 else f"{name}-{taken[name]}"
        places_before[label] += 1
        names[row] = name_of[scan]
    return names


def chain(slices: pd.DataFrame, thumbnails: NDArray[np.uint8]) -> Chain:
    """Put slices in order and find what holds them together.

    Neighbours cost O(N); for the links see `kidney.data.scans.similarity.alike_runs`. 12,446
    slices take 2 seconds and 60 MB beside their thumbnails on two cores.
    """
    paths, labels = list(slices["path"]), list(slices["label"])
    names = [split_name(path) for path in paths]
    numbers = [number for _, number in names]
    kinds = [(label, series) for label, (series, _) in zip(labels, names, strict=True)]
    # Unnumbered slices sort last; the path breaks ties, so the order is always the same.
    rows = sorted(
        range(len(paths)), key=lambda r: (kinds[r], numbers[r] is None, numbers[r] or 0, paths[r])
    )

    def follows(before: int, after: int) -> bool:
        here, there = numbers[before], numbers[after]
        if here is None or there is None or kinds[before] != kinds[after]:
            return False
        return 0 < there - here <= MOST_SKIPPED

    order = np.array(rows, dtype=np.int64)
    near = np.array([follows(*pair) for pair in pairwise(rows)], dtype=bool)
    similarity = correlation(thumbnails, order[:-1], order[1:])
    runs = np.concatenate([[0], np.cumsum(~near | (similarity < SAME_SCAN))]).astype(np.int64)
    labels_in_order = np.array(labels)[order]
    places = [np.flatnonzero(labels_in_order == label) for label in np.unique(labels_in_order)]
    with ThreadPoolExecutor() as pool:
        linked = list(
            pool.map(lambda at: alike_runs(thumbnails[order[at]], runs[at], LINKED), places)
        )
    found = np.concatenate([at[pairs] for at, (pairs, _) in zip(places, linked, strict=True)])
    strengths = np.concatenate([strength for _, strength in linked])
    count = int(runs[-1]) + 1
    graph = coo_matrix((np.ones(len(found)), runs[found].T), shape=(count, count))
    scans = connected_components(graph, directed=False)[1][runs].astype(np.int64)
    return Chain(order, similarity, runs, found, strengths, scans)
