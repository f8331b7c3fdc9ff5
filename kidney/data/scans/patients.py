"""Which scans are of one patient, where no patient ids are given: axial and coronal runs in pairs.

The public set alternates, within a class, an axial run with a coronal run of the same patient. So a
coronal run belongs to the axial run right before it by number. And two axial runs that follow each
other are two series of one patient where their closest slices are alike. Two scans of one patient
in two folds leak; two patients taken for one cost a little data. So every such pair is joined, and
`boundaries.csv` shows it with a confidence.

Measured on `ct-kidney-part` (2,143 slices, 91 scans) against `ct-kidney-patients.csv`, which was
made from the whole set: see docs/data.md. What the rule cannot find are a coronal run whose axial
run was left out of the set, and axial runs of one patient that look different. `data.labels` puts
such patients right.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from kidney.data.scans.boundaries import CLOSEST_SLICES, COLUMNS
from kidney.data.scans.grouping import MOST_SKIPPED, Chain, split_name
from kidney.data.scans.similarity import coarse_vectors, correlation
from kidney.imaging.appearance import PLANES

# Of 17 pairs of planes on `ct-kidney-part` 15 are of one patient by the table. Grey of soft tissue,
# the median of a run, differs by 9 (standard deviation) between runs of one patient, by 28 between
# others.
_RIGHT = 15 / 17
_SAME_GREY, _OTHER_GREY = 9.0, 28.0
# The closest slices of an axial run and the next one: 0.79 and 0.80 of one patient, at most 0.72 of
# two, on `ct-kidney-part`.
SAME_PATIENT = 0.76


@dataclass(frozen=True)
class Pair:
    """Two runs of one patient, the second right after the first by number.

    Attributes:
        first: the first place of the first run in the order of `Chain`; it is axial.
        second: that of the second run.
        confidence: the probability that both are of one patient, at least 0.5.
    """

    first: int
    second: int
    confidence: float


def pair_runs(
    found: Chain,
    slices: pd.DataFrame,
    looks: dict[str, NDArray[np.float64]],
    thumbnails: NDArray[np.uint8],
) -> list[Pair]:
    """Pair each axial run with the coronal or similar run after it, of one label and series.

    Pictures that are not square are taken for coronal whatever they look like: scanners reconstruct
    axial slices into squares, reformats are as long as the patient.

    Args:
        found: what `chain` returned for `slices`.
        slices: N rows with path, label, width and height; any order.
        looks: what `appearance` gave of their thumbnails, (N,) each.
        thumbnails: uint8 (N, 96, 96), row by row those of `slices`.
    """
    in_order = slices.iloc[found.rows]
    square = (in_order["width"] == in_order["height"]).to_numpy()
    coronal = (looks["plane"][found.rows] == PLANES.index("coronal")) | ~square
    grey = looks["soft_grey"][found.rows]
    names = [split_name(path) for path in in_order["path"]]
    kinds = list(zip(in_order["label"], (series for series, _ in names), strict=True))
    numbers = [number for _, number in names]
    vectors = coarse_vectors(thumbnails)[found.rows]
    starts = np.flatnonzero(np.diff(found.runs, prepend=-1))
    runs = [slice(a, b) for a, b in zip(starts, [*starts[1:], len(found.runs)], strict=True)]
    pairs = []
    for one, other in pairwise(runs):
        last, following = numbers[one.stop - 1], numbers[other.start]
        if kinds[one.start] != kinds[other.start] or last is None or following is None:
            continue
        if np.median(coronal[one]) > 0:
            continue
        if np.median(coronal[other]) == 1:
            apart = float(np.median(grey[one]) - np.median(grey[other]))
            pairs.append(Pair(int(one.start), int(other.start), _confidence(apart)))
        elif following - last <= MOST_SKIPPED:
            coarse = vectors[one] @ vectors[other].T
            row, column = np.unravel_index(int(coarse.argmax()), coarse.shape)
            rows = found.rows[[one.start + row, other.start + column]]
            closest = correlation(thumbnails, rows[:1], rows[1:])
            if closest[0] > SAME_PATIENT:
                same = CLOSEST_SLICES.one_scan(closest)
                pairs.append(Pair(int(one.start), int(other.start), max(float(same[0]), 0.5)))
    return pairs


def _confidence(apart: float) -> float:
    """Return P(one patient) of a pair whose soft tissue differs by `apart`, by Bayes' theorem."""
    one = _RIGHT * norm.pdf(apart, scale=_SAME_GREY)
    two = (1 - _RIGHT) * norm.pdf(apart, scale=_OTHER_GREY)
    return max(float(one / (one + two)), 0.5)


def pair_rows(
    pairs: list[Pair], found: Chain, slices: pd.DataFrame, thumbnails: NDArray[np.uint8]
) -> pd.DataFrame:
    """Return the pairs as rows of boundaries.csv: the last slice of one run, the first of the next.

    Their `decision` is "paired". The similarity is given as for other rows; across planes it says
    nothing.
    """
    ends = np.array([[pair.second - 1, pair.second] for pair in pairs], np.int64).reshape(-1, 2)
    rows = found.rows[ends]
    paths = slices["path"].to_numpy()
    return pd.DataFrame(
        {
            "before": paths[rows[:, 0]],
            "after": paths[rows[:, 1]],
            "similarity": correlation(thumbnails, rows[:, 0], rows[:, 1]).astype(np.float64),
            "decision": "paired",
            "confidence": [pair.confidence for pair in pairs],
        },
        columns=COLUMNS,
    )


def patient_names(
    scans: "pd.Series[str]", known: "pd.Series[str]", pairs: list[tuple[str, str]]
) -> "pd.Series[str]":
    """Name the patient of each slice.

    Args:
        scans: (N,) the scan of each slice.
        known: (N,) the patient where given, else NaN; of a scan's slices all that are given agree.
        pairs: names of scans that are of one patient unless `known` tells otherwise.

    Returns:
        What is given for a slice of the scan; else, for scans that are paired, what is given for
        one of them, or else the name of the first of them; else the scan's own name.
    """
    given = {str(scan): name for scan, name in known.groupby(scans).first().dropna().items()}
    first = {scan: scan for scan in scans}
    for earlier, later in pairs:
        one, other = first[earlier], first[later]
        named = {given[scan] for scan in first if first[scan] in (one, other) and scan in given}
        if len(named) < 2:
            first |= {scan: one for scan in first if first[scan] == other}
    of_group = {first[scan]: name for scan, name in given.items()}
    return scans.map({scan: of_group.get(group, group) for scan, group in first.items()})
