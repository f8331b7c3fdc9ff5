"""How far what is read now is from what the model learned from, as one number for each input.

The card has the baseline, a summary of the training slices (kidney.imaging.baseline). Here its
summaries become histograms, slices are counted into the same bins, and two histograms are compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kidney.imaging.appearance import ENHANCED_FROM, VIEWS, appearance
from kidney.imaging.baseline import GREY_BINS

# An empty bin counts as this share, as otherwise a single slice of a new size would be infinitely
# far; below it a share says nothing for the few hundred slices that are compared.
FLOOR = 0.001
_MOST_SIZES = 15  # the rest are one bin
_OTHER = "other"
_DECILES = ("enhancement", "soft_grey", "body_share")


@dataclass(frozen=True, eq=False)
class Input:
    """One property of slices, as the baseline has it.

    Attributes:
        name: grey, sizes, phase, view, enhancement, soft_grey or body_share.
        bins: what its bins are called.
        expected: float64 (B,), share of each bin in the baseline, sum 1.
        edges: float64 (B - 1,), ascending: where one bin ends and the next begins; empty where
            bins are no ranges.
    """

    name: str
    bins: tuple[str, ...]
    expected: NDArray[np.float64]
    edges: NDArray[np.float64]


def inputs(baseline: Mapping[str, Any]) -> list[Input]:
    """Return what of a card's baseline can be compared; empty for a card without one.

    Where deciles coincide, as of a value that many slices share, their bins are one.
    """
    found = []
    step = 256 // GREY_BINS
    if grey := baseline.get("grey"):
        found.append(_named("grey", {f"{place * step:03}": s for place, s in enumerate(grey)}))
    if sizes := baseline.get("sizes"):
        common = sorted(sizes.items(), key=lambda item: -item[1])[:_MOST_SIZES]
        rest = max(0.0, 1 - sum(share for _, share in common))
        found.append(_named("sizes", {**dict(common), _OTHER: rest}))
    found += [_named(name, baseline[name]) for name in ("phase", "view") if baseline.get(name)]
    found += [_ranges(name, baseline[name]) for name in _DECILES if baseline.get(name)]
    return found


def count(
    compared: Sequence[Input], thumbnails: NDArray[np.uint8], shapes: Sequence[tuple[int, ...]]
) -> list[NDArray[np.float64]]:
    """Count slices into the bins of each input.

    Args:
        compared: what to count.
        thumbnails: uint8 (N, 96, 96), as `kidney.imaging.appearance.thumbnail` makes them.
        shapes: height and width of the slices in pixels, N.

    Returns:
        For each input float64 (B,), sum N. A slice is in one bin; in `grey` it is spread over them
        as its pixels are, and a value on an edge lies half on either side.
    """
    looks = appearance(thumbnails)
    names: dict[str, Sequence[str]] = {
        "sizes": [f"{width} x {height}" for height, width in shapes],
        "phase": np.where(looks["enhancement"] >= ENHANCED_FROM, "enhanced", "plain").tolist(),
        "view": [VIEWS[int(number)] for number in looks["view"]],
    }
    counts: list[NDArray[np.float64]] = []
    for one in compared:
        if one.name == "grey":
            pixels = np.bincount(thumbnails.reshape(-1) // (256 // GREY_BINS), minlength=GREY_BINS)
            counts.append(np.asarray(pixels * (len(thumbnails) / thumbnails.size), np.float64))
        elif one.name in names:
            known = set(one.bins)
            called = [name if name in known else _OTHER for name in names[one.name]]
            counts.append(np.array([called.count(name) for name in one.bins], dtype=np.float64))
        else:
            sides = [np.searchsorted(one.edges, looks[one.name], side) for side in _SIDES]
            places = np.concatenate(sides)
            counts.append(np.bincount(places, minlength=len(one.bins)) / len(_SIDES))
    return counts


_SIDES: tuple[Any, ...] = ("left", "right")


def population_stability_index(
    expected: NDArray[np.float64], observed: NDArray[np.float64]
) -> float:
    """Return how far two histograms are from each other: sum of (o - e) ln(o / e), 0 or more.

    It is the Kullback-Leibler divergence both ways, added (Jeffreys 1946). By custom below 0.1
    nothing has changed, above 0.25 the population is another one (Siddiqi, Credit Risk Scorecards,
    2006). For N independent slices and B bins it is about (B - 1) / N where nothing has changed
    (Yurdakul, Statistical Properties of Population Stability Index, 2018).

    Args:
        expected: (B,) shares or counts, 0 or more, not all of them 0.
        observed: (B,) the same, of what is compared.
    """
    e, o = (_floored(values / values.sum()) for values in (expected, observed))
    return float(((o - e) * np.log(o / e)).sum())


def _floored(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    raised: NDArray[np.float64] = np.maximum(shares, FLOOR)
    return raised / float(raised.sum())


def _named(name: str, shares: Mapping[str, float]) -> Input:
    return Input(name, tuple(shares), np.array([*shares.values()], dtype=np.float64), np.empty(0))


def _ranges(name: str, quantiles: Sequence[float]) -> Input:
    """Turn minimum, quantiles at equal steps and maximum into bins that hold equal shares."""
    edges, lowest = np.unique(np.array(quantiles[1:-1], dtype=np.float64), return_index=True)
    steps = len(quantiles) - 1
    # An edge that several quantiles share cuts in the middle of them.
    several = np.diff(np.append(lowest, steps - 1))
    below = (lowest + 1 + lowest + several) / 2 / steps
    shares = np.diff(np.concatenate([[0.0], below, [1.0]])).round(9).astype(np.float64)
    bounds = [f"{edge:g}" for edge in edges]
    called = [f"to {bounds[0]}", *(f"{a} to {b}" for a, b in pairwise(bounds)), f"{bounds[-1]} on"]
    return Input(name, tuple(called), shares, edges)
