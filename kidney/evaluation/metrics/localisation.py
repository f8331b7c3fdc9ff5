"""Where the evidence lies, measured against a lesion that somebody has drawn."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kidney.evaluation.metrics.bootstrap import Interval, patient_intervals
from kidney.evaluation.metrics.classification import mean_of

Region = Sequence[float]  # top, left, bottom, right in pixels

# A map says where, not how much: it is cut at shares of its own peak.
CUTS = np.linspace(0.05, 0.95, 19)


class Placed(NamedTuple):
    """How a map of evidence lies to the lesion of its slice."""

    row: int  # of the peak, in pixels
    column: int
    inside: bool  # the peak lies in the lesion
    distance: float  # from the peak to the nearest pixel of the lesion, in pixels; 0 inside
    overlaps: NDArray[np.float64]  # (len(CUTS),) intersection over union at each share of the peak
    best_overlap: float  # intersection over union at the slice's own best threshold
    share_inside: float  # of the positive evidence, how much lies in the lesion; NaN without any
    chance: float  # share of the region's pixels that are lesion: where a blind peak would hit


def enlarge(
    evidence: NDArray[np.floating], shape: tuple[int, int], region: Region | None = None
) -> NDArray[np.float64]:
    """Lay a map over the picture, bilinearly, as the overlay shows it.

    Args:
        evidence: (h, w).
        shape: height and width of the picture in pixels.
        region: what the map covers; it may leave the picture. The whole picture where absent.

    Returns:
        float64 (height, width); minus infinity outside the region, where the map says nothing.
    """
    top, left, bottom, right = region or (0.0, 0.0, float(shape[0]), float(shape[1]))
    rows = _mixture(top, bottom, evidence.shape[0], shape[0])
    columns = _mixture(left, right, evidence.shape[1], shape[1])
    covered = (rows.sum(axis=1) > 0)[:, None] & (columns.sum(axis=1) > 0)
    values = rows @ evidence.astype(np.float64) @ columns.T
    laid: NDArray[np.float64] = np.where(covered, values, -np.inf)
    return laid


def _mixture(low: float, high: float, cells: int, pixels: int) -> NDArray[np.float64]:
    """Return how much each of `cells` weighs in each of `pixels`: (pixels, cells); 0 outside."""
    centres = np.arange(pixels) + 0.5
    places = np.clip((centres - low) / (high - low) * cells - 0.5, 0, cells - 1)
    weights: NDArray[np.float64]
    weights = np.clip(1 - np.abs(places[:, None] - np.arange(cells)), 0, None)
    weights *= ((centres > low) & (centres < high))[:, None]
    return weights


def relative(
    evidence: NDArray[np.floating], target: int, normal: int | None
) -> NDArray[np.floating]:
    """Return where the target beats "normal": (K, h, w) to (h, w).

    Probabilities depend on differences between logits, so evidence that classes share moves
    nothing, however bright it is on a map. And where a lesion lies is where a kidney does not look
    normal: that stone or cyst are as likely there says nothing of the place.

    Args:
        evidence: (K, h, w).
        target: the class that is asked for.
        normal: the class to compare with; None: the mean of all classes.
    """
    rest = evidence.mean(axis=0) if normal is None else evidence[normal]
    difference: NDArray[np.floating] = evidence[target] - rest
    return difference


def place(laid: NDArray[np.floating], lesion: NDArray[np.bool_]) -> Placed:
    """Compare a map of evidence with the lesion.

    Args:
        laid: (H, W), evidence of the lesion's class as `enlarge` lays it; positive speaks for it.
        lesion: bool (H, W) with a pixel at least.

    Raises:
        ValueError: an empty lesion.
    """
    if not lesion.any():
        raise ValueError("Expected a lesion of one pixel at least, but the mask is empty.")
    row, column = np.unravel_index(int(laid.argmax()), laid.shape)
    rows, columns = np.nonzero(lesion)
    positive = np.clip(laid, 0, None)
    total = positive.sum()
    return Placed(
        row=int(row),
        column=int(column),
        inside=bool(lesion[row, column]),
        distance=float(np.hypot(rows - row, columns - column).min()),
        overlaps=np.array([_overlap(laid, lesion, cut * laid.max()) for cut in CUTS]),
        best_overlap=_best_overlap(laid, lesion),
        share_inside=float(positive[lesion].sum() / total) if total > 0 else float("nan"),
        chance=float(lesion[laid > -np.inf].mean()),
    )


def _overlap(laid: NDArray[np.floating], lesion: NDArray[np.bool_], threshold: float) -> float:
    """Return intersection over union, 0 to 1; 0 where the map has no positive evidence."""
    marked = (laid >= threshold) & (laid > 0)
    return float((marked & lesion).sum() / (marked | lesion).sum())


def _best_overlap(laid: NDArray[np.floating], lesion: NDArray[np.bool_]) -> float:
    """Return the highest intersection over union of all thresholds, 0 to 1."""
    order = np.argsort(-laid, axis=None, kind="stable")
    values = laid.ravel()[order]
    hits = np.cumsum(lesion.ravel()[order])
    overlaps = hits / (lesion.sum() + np.arange(1, len(hits) + 1) - hits)
    # Pixels of equal evidence are marked together.
    last = np.append(values[1:] != values[:-1], True) & (values > -np.inf)
    return float(overlaps[last].max())


def localisation_figures(
    placed: Sequence[Placed], labels: NDArray[np.str_], patients: NDArray[np.str_]
) -> dict[str, Interval]:
    """Return figures over slices, with intervals over whole patients.

    peak_inside, share of slices whose peak falls inside the lesion, and peak_inside_LABEL, that of
    one kind of lesion; peak_distance, mean distance from peak to lesion in pixels; iou, mean
    intersection over union at the one share of the peak that is best for all slices together;
    iou_best, the same with a threshold chosen for each slice after looking at its lesion, which
    flatters; positive_inside, mean share of positive evidence that lies in the lesion, of the
    slices that have any; chance, share of slices that a blind peak would hit.

    Args:
        placed: one for each of N slices.
        labels: (N,) what the lesion is.
        patients: (N,) whose slice it is.
    """
    inside = np.array([one.inside for one in placed], dtype=np.float64)
    distance = np.array([one.distance for one in placed])
    overlaps = np.stack([one.overlaps for one in placed])  # (N, cuts)
    best = np.array([one.best_overlap for one in placed])
    share = np.array([one.share_inside for one in placed])
    chance = np.array([one.chance for one in placed])
    kinds, numbers = np.unique(labels, return_inverse=True)

    def of_rows(rows: NDArray[np.int64]) -> dict[str, float]:
        return {
            "peak_inside": float(inside[rows].mean()),
            **{
                f"peak_inside_{kind}": mean_of(inside[rows][labels[rows] == kind]) for kind in kinds
            },
            "peak_distance": float(distance[rows].mean()),
            "iou": float(overlaps[rows].mean(axis=0).max()),
            "iou_best": float(best[rows].mean()),
            "positive_inside": mean_of(share[rows]),
            "chance": float(chance[rows].mean()),
        }

    return patient_intervals(of_rows, patients, numbers.astype(np.int64))
