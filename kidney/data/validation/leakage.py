"""How much of the test part a split leaks into training: near copies and what they give away.

`thumbnails` are uint8 (N, 96, 96), row by row those of the manifest; `places` their `coordinates`.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kidney.data.scans.similarity import correlation, nearest
from kidney.data.split import Split, parts_in, patients_that_cross

Pair = tuple[int, int, float]  # two rows of the manifest and their correlation
NEAR_COPY = 0.90  # correlation of thumbnails, as for scans: neighbours of a scan reach 0.98
SAME_PICTURE = 0.95  # under two labels: slices of two patients stay below 0.90


@dataclass(frozen=True)
class Leakage:
    """What was measured, every fold being the test part once."""

    nearest_in_training: float  # share of test slices whose nearest other slice is in training
    # share of test slices that correlate above 0.90 with the training slice that is nearest to them
    near_copies: float
    # accuracy of giving a test slice the label of its nearest training slice
    memory_accuracy: float
    majority_accuracy: float  # accuracy of giving it the most frequent label of the training part
    crossing: int  # patients with slices in more than one part
    # (test row, training row, correlation) of near copies, at most 6 of all degrees
    pairs: tuple[Pair, ...]


def measure_leakage(
    slices: pd.DataFrame,
    thumbnails: NDArray[np.uint8],
    places: NDArray[np.float64],
    split: Split,
) -> Leakage:
    """Look for the nearest training slice of every test slice of every fold."""
    everyone = np.arange(len(slices))
    closest = nearest(places, everyone, everyone)
    labels = slices["label"].to_numpy()
    tested, in_training, copied, majority = np.zeros((4, len(slices)), dtype=bool)
    nearest_train, similarity = closest.copy(), np.zeros(len(slices))
    crossing: set[str] = set()
    for fold in range(split.folds):
        parts = parts_in(slices, split, fold).to_numpy()
        test, train = np.flatnonzero(parts == "test"), np.flatnonzero(parts == "train")
        if not len(test) or len(train) < 2:
            continue
        tested[test] = True
        in_training[test] = parts[closest[test]] == "train"
        nearest_train[test] = nearest(places, test, train)
        similarity[test] = correlation(thumbnails, test, nearest_train[test])
        copied[test] = labels[nearest_train[test]] == labels[test]
        names, counts = np.unique(labels[train], return_counts=True)
        majority[test] = labels[test] == names[counts.argmax()]
        crossing |= set(patients_that_cross(slices, pd.Series(parts, index=slices.index)))
    copies = tested & (similarity > NEAR_COPY)
    worst = np.flatnonzero(copies)[np.argsort(-similarity[copies], kind="stable")]
    return Leakage(
        nearest_in_training=_share(in_training, tested),
        near_copies=_share(copies, tested),
        memory_accuracy=_share(copied, tested),
        majority_accuracy=_share(majority, tested),
        crossing=len(crossing),
        pairs=tuple(
            (int(row), int(nearest_train[row]), round(float(similarity[row]), 3))
            for row in worst[:: max(len(worst) // 6, 1)][:6]
        ),
    )


def _share(hits: NDArray[np.bool_], tested: NDArray[np.bool_]) -> float:
    return round(float(hits[tested].mean()), 4) if tested.any() else 0.0


def across_labels(
    slices: pd.DataFrame,
    thumbnails: NDArray[np.uint8],
    places: NDArray[np.float64],
    above: float,
) -> list[Pair]:
    """List pairs (row, row, correlation) of different labels that correlate above `above`."""
    labels = slices["label"].to_numpy()
    found: dict[tuple[int, int], float] = {}
    for label in np.unique(labels):
        own, others = np.flatnonzero(labels == label), np.flatnonzero(labels != label)
        if len(others) < 2:
            continue
        closest = nearest(places, own, others)
        similar = correlation(thumbnails, own, closest)
        for row, other, similarity in zip(own, closest, similar, strict=True):
            if similarity > above:
                found[min(row, other), max(row, other)] = round(float(similarity), 3)
    return sorted(((a, b, one) for (a, b), one in found.items()), key=lambda pair: -pair[2])
