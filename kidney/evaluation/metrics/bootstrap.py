"""Intervals that know that slices of one scan are not independent."""

from collections.abc import Callable
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

REPEATS = 1000


class Interval(TypedDict):
    """A figure with its 95 % interval; None where the figure is not defined."""

    value: float | None
    low: float | None
    high: float | None


def intervals_over_scans(
    figures: Callable[[NDArray[np.int64]], dict[str, float]],
    scans: NDArray[np.str_],
    labels: NDArray[np.int64],
    repeats: int = REPEATS,
    seed: int = 0,
) -> dict[str, Interval]:
    """Percentile bootstrap with whole scans as the unit (cluster bootstrap, Efron and Tibshirani).

    Args:
        figures: figures of the slices with the given row numbers, a name each.
        scans: (N,) the scan of each slice.
        labels: (N,) scans are drawn within each class, so that no resample lacks one.
        repeats: resamples.
        seed: of the draws.

    Returns:
        Each figure with its 2.5th and 97.5th percentile.
    """
    _, scan_of, slices = np.unique(scans, return_inverse=True, return_counts=True)
    rows_of = np.split(np.argsort(scan_of, kind="stable"), np.cumsum(slices)[:-1])
    label_of = np.array([np.bincount(labels[rows]).argmax() for rows in rows_of])
    strata = [np.flatnonzero(label_of == label) for label in np.unique(label_of)]
    generator = np.random.default_rng(seed)
    draws: dict[str, list[float]] = {}
    for _ in range(repeats):
        chosen = np.concatenate([generator.choice(stratum, len(stratum)) for stratum in strata])
        for name, value in figures(np.concatenate([rows_of[scan] for scan in chosen])).items():
            draws.setdefault(name, []).append(value)
    whole = figures(np.arange(len(scans)))
    return {name: _interval(value, np.array(draws[name])) for name, value in whole.items()}


def _interval(value: float, draws: NDArray[np.floating]) -> Interval:
    known = draws[~np.isnan(draws)]
    if np.isnan(value) or not len(known):
        return {"value": None, "low": None, "high": None}
    low, high = np.percentile(known, [2.5, 97.5])
    return {"value": value, "low": float(low), "high": float(high)}
