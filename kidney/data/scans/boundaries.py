"""How sure the scans are that `kidney.data.scans.grouping` infers: the decisions worth a look.

Two slices of one scan and two of different scans are told apart by x = log(1 - correlation), in
which both kinds are roughly normal. Linear discriminant analysis (Fisher 1936) with equal priors
and the mean of the two variances makes of x the probability that they are one scan: a logistic
curve, 0.5 half-way between the two means. On `ct-kidney-part` that is at a correlation of 0.83 for
the next slice and of 0.87 for the closest slices of two runs, beside SAME_SCAN and LINKED.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.special import expit

from kidney.data.scans.grouping import MOST_SKIPPED, Chain, split_name
from kidney.data.scans.similarity import coarse_vectors, correlation

COLUMNS = ["before", "after", "similarity", "decision", "confidence"]
_LOW = 0.97  # 99 % of the next slices of a scan correlate above 0.98
_FEWEST_PAIRS = 50
_MOST_RUNS = 500  # compared with all slices: bounds that to O(N)
_MOST_PAIRS = 1000  # compared in full: more would not move a mean and a variance


@dataclass(frozen=True)
class Discriminant:
    """P(one scan) = expit(slope * (middle - log(1 - correlation)))."""

    middle: float
    slope: float

    def one_scan(self, similarity: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the probability in [0, 1] that slices so alike belong to one scan; it rises."""
        return np.asarray(expit(self.slope * (self.middle - _log_distance(similarity))))


# Fitted on ct-kidney-part, for sets too small to be fitted or of one label.
NEXT_SLICE = Discriminant(middle=-1.77, slope=3.4)
CLOSEST_SLICES = Discriminant(middle=-2.07, slope=2.55)


def boundaries(found: Chain, slices: pd.DataFrame, thumbnails: NDArray[np.uint8]) -> pd.DataFrame:
    """List where scans end, go on in spite of a low similarity, or are linked over a gap.

    Returns:
        before, after: the paths of two slices of one label.
        similarity: their correlation, in [-1, 1].
        decision: of neighbours by number, `cut`, two scans, or `joined`, one scan though the
            similarity is low; of the closest slices of two runs, `linked`, one scan. Links that
            follow from stronger ones are left out.
        confidence: the probability that the decision is right, at least 0.5. Read the table from
            the top: at 0.5 similarity says nothing, or speaks against a decision that was taken to
            be on the safe side, and a look at the two slices is worth it; above 0.95 it is not.
            The least confident come first.
    """
    in_order = slices.iloc[found.rows]
    paths, labels = list(in_order["path"]), list(in_order["label"])
    next_slice, closest = _discriminants(found, np.array(labels), thumbnails)
    names = [split_name(path) for path in paths]
    kinds = [(label, series) for label, (series, _) in zip(labels, names, strict=True)]
    rows: list[tuple[str, str, float, str, float]] = []

    def add(before: int, after: int, similarity: float, decision: str, by: Discriminant) -> None:
        one_scan = float(by.one_scan(np.array([similarity]))[0])
        right = 1 - one_scan if decision == "cut" else one_scan
        rows.append((paths[before], paths[after], similarity, decision, max(right, 0.5)))

    for i, similarity in enumerate(found.similarity.tolist()):
        if kinds[i] != kinds[i + 1] or names[i + 1][1] is None:
            continue
        if found.scans[i] != found.scans[i + 1]:
            add(i, i + 1, similarity, "cut", next_slice)
        elif found.runs[i] == found.runs[i + 1] and similarity < _LOW:
            add(i, i + 1, similarity, "joined", next_slice)
    for i in _telling_links(found):
        before, after = sorted(found.links[i].tolist())
        add(before, after, float(found.link_similarity[i]), "linked", closest)
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.sort_values(["confidence", "before", "after"], ignore_index=True)


def _telling_links(found: Chain) -> NDArray[np.int64]:
    """Return which links hold the scans together at their strongest: a spanning forest."""
    size = int(found.runs[-1]) + 1
    ends = np.sort(found.runs[found.links], axis=1)
    # 2 - r is positive, as a sparse weight must be, and least where slices are most alike.
    weights = coo_matrix((2 - found.link_similarity, ends.T), shape=(size, size))
    forest = minimum_spanning_tree(weights).tocoo()
    kept = set(zip(forest.row.tolist(), forest.col.tolist(), strict=True))
    return np.array([i for i, pair in enumerate(ends.tolist()) if tuple(pair) in kept], np.int64)


def _discriminants(
    found: Chain, label: NDArray[np.str_], thumbnails: NDArray[np.uint8]
) -> tuple[Discriminant, Discriminant]:
    """Fit the discriminants of next slices and of closest slices on the set itself.

    One scan: two slices of a run, 1 to MOST_SKIPPED places apart in turn. Two scans: slices of
    different labels, half the set apart for the first; for the second the middle slice of a run
    and, of all slices of other labels, the one that is most like it.
    """
    places = np.arange(len(label))
    after = np.minimum(places + 1 + places % MOST_SKIPPED, len(label) - 1)
    of_run = (found.runs[places] == found.runs[after]) & (after > places)
    other = (places + len(label) // 2) % len(label)
    of_two = label != label[other]

    def look(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float64]:
        step = -(-len(first) // _MOST_PAIRS) or 1
        first, second = first[::step], second[::step]
        return _log_distance(correlation(thumbnails, found.rows[first], found.rows[second]))

    same = look(places[of_run], after[of_run])
    starts = np.flatnonzero(np.diff(found.runs, prepend=-1))
    middles = (starts + np.append(starts[1:], len(label)) - 1) // 2
    middles = middles[:: -(-len(middles) // _MOST_RUNS)]
    coarse = coarse_vectors(thumbnails)[found.rows]
    alike = np.where(label[middles][:, None] == label, -2, coarse[middles] @ coarse.T)
    nearest = alike.argmax(axis=1)
    known = label[middles] != label[nearest]
    return (
        _fit(same, look(places[of_two], other[of_two]), NEXT_SLICE),
        _fit(same, look(middles[known], nearest[known]), CLOSEST_SLICES),
    )


def _fit(
    same: NDArray[np.float64], different: NDArray[np.float64], otherwise: Discriminant
) -> Discriminant:
    if min(len(same), len(different)) < _FEWEST_PAIRS:
        return otherwise
    apart = different.mean() - same.mean()
    variance = (different.var() + same.var()) / 2
    if apart <= 0 or variance == 0:
        return otherwise
    return Discriminant((different.mean() + same.mean()) / 2, apart / variance)


def _log_distance(similarity: NDArray[np.floating]) -> NDArray[np.float64]:
    # 1e-4: neighbours differ by noise of that size at least; copies would pull the mean away.
    return np.asarray(np.log(np.maximum(1 - similarity.astype(np.float64), 1e-4)))
