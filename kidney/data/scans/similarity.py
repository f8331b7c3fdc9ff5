"""How alike slices are as thumbnails, and which of many are: without comparing each with each.

Throughout, `thumbnails` are uint8 (N, 96, 96), and pairs and runs name their rows.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.fft import dctn
from scipy.spatial import cKDTree

_COARSE_SIDE = 16
_WAVES = 8  # in each direction: the slow ones of a coarse thumbnail, 63 numbers without the mean
_SLACK = 0.01  # a coarse correlation may lie so far below the full one
_ROWS_AT_ONCE = 128  # 5 MB of thumbnails in float32: more would not stay in a processor's cache
_PAIRS_AT_ONCE = 4096


def correlation(
    thumbnails: NDArray[np.uint8], first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return Pearson's correlation of thumbnails first[i] and second[i], 0 for an even picture."""
    parts = [np.empty(0, np.float32)]
    for start in range(0, len(first), _ROWS_AT_ONCE):
        some = slice(start, start + _ROWS_AT_ONCE)
        one, other = _centred(thumbnails[first[some]]), _centred(thumbnails[second[some]])
        length = np.einsum("ij,ij->i", one, one) * np.einsum("ij,ij->i", other, other)
        together = np.einsum("ij,ij->i", one, other)
        parts.append(np.clip(together / np.sqrt(np.maximum(length, 1e-12)), -1, 1))
    return np.concatenate(parts)


def coarse_vectors(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (N, 256) unit vectors of the thumbnails at 16 pixels: dot products correlate them.

    Args:
        thumbnails: uint8 (N, 96, 96), or another side that 16 divides.
    """
    wide = thumbnails.shape[1] // _COARSE_SIDE
    into = np.kron(np.eye(_COARSE_SIDE, dtype=np.float32), np.ones((1, wide), np.float32))
    parts = []
    for start in range(0, len(thumbnails), _ROWS_AT_ONCE):
        some = thumbnails[start : start + _ROWS_AT_ONCE].astype(np.float32)
        parts.append(_unit_vectors(np.asarray(into @ some @ into.T, np.float32)))
    return np.concatenate(parts)


def alike_runs(
    thumbnails: NDArray[np.uint8], runs: NDArray[np.int64], above: float
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find the pairs of runs of which two slices correlate above `above`.

    Only slices that are alike at 16 pixels are compared in full, and of each other run a slice is
    compared with the one that is most like it. A k-d tree finds those in about O(N log N) and the
    number of such pairs, which grows with N times the slices like one slice: with the square of N
    only if most of the slices are alike. Slices that correlate in full correlate as well at
    16 pixels, where the fine detail in which slices differ most is averaged away: on the 19,700
    pairs of `ct-kidney-part` above 0.9 without exception.

    Returns:
        (L, 2) rows of thumbnails, the closest slices of two runs, and (L,) their correlation; the
        most alike come first.
    """
    coarse = coarse_vectors(thumbnails)
    rows = np.flatnonzero(coarse.any(axis=1))  # an even picture has no direction and is like none
    coarse, enough = coarse[rows], above - _SLACK
    # Unit vectors that correlate above r lie closer than sqrt(2 - 2 r), and on fewer waves no
    # farther apart: the tree misses none.
    near = cKDTree(_slow_waves(coarse)).query_pairs((2 - 2 * enough) ** 0.5, output_type="ndarray")
    near = near[runs[rows[near[:, 0]]] != runs[rows[near[:, 1]]]]
    alike = [np.empty(0, np.float32)]
    for start in range(0, len(near), _PAIRS_AT_ONCE):
        one, other = near[start : start + _PAIRS_AT_ONCE].T
        alike.append(np.einsum("ij,ij->i", coarse[one], coarse[other]))
    likeness = np.concatenate(alike)
    pairs, likeness = rows[near[likeness > enough]], likeness[likeness > enough]
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0], -likeness))]
    pairs = pairs[_first_of_each(pairs[:, 0], runs[pairs[:, 1]])]
    similarity = correlation(thumbnails, pairs[:, 0], pairs[:, 1])
    best = np.argsort(-similarity, kind="stable")
    best = best[similarity[best] > above]
    best = best[_first_of_each(*np.sort(runs[pairs[best]], axis=1).T)]
    return pairs[best], similarity[best]


def coordinates(thumbnails: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Place slices (N, 63) so that the closer two are, the higher they correlate.

    On `ct-kidney-part` the nearest slice by these places correlates, for 99.7 % of the slices,
    within 0.01 of the best of all in full.
    """
    return _slow_waves(coarse_vectors(thumbnails))


def nearest(
    places: NDArray[np.float64], asked: NDArray[np.int64], among: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return, for each row of `asked`, the nearest other row of `among`, in O(N log N)."""
    rows = among[cKDTree(places[among]).query(places[asked], k=2, workers=-1)[1]]
    return np.asarray(np.where(rows[:, 0] == asked, rows[:, 1], rows[:, 0]))


def _first_of_each(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark where a pair (a[i], b[i]) comes for the first time."""
    return np.asarray(~pd.DataFrame({"a": a, "b": b}).duplicated())


def _slow_waves(coarse: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the first coefficients of the cosine transform (DCT-II) of coarse vectors (N, 256).

    The transform is a rotation, so leaving coefficients out never moves two slices apart. Principal
    axes would hold more in fewer numbers, but to fit them takes seconds on a busy machine.
    """
    pictures = coarse.reshape(-1, _COARSE_SIDE, _COARSE_SIDE).astype(np.float64)
    slow = dctn(pictures, axes=(1, 2), norm="ortho")[:, :_WAVES, :_WAVES]
    return np.asarray(slow.reshape(len(coarse), -1)[:, 1:])


def _unit_vectors(pictures: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Centre and scale each picture, so that a dot product is Pearson's correlation."""
    flat = _centred(pictures)
    length = np.sqrt(np.einsum("ij,ij->i", flat, flat))
    return np.asarray(flat / np.maximum(length, 1e-6)[:, None])


def _centred(pictures: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    flat = pictures.reshape(len(pictures), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat
