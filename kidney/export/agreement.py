"""How far a converted file may leave the one that it was made from: pure functions of answers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kidney.artifact.predictor import Answer
from kidney.evaluation.metrics.classification import figures

MAX_AUROC_LOST = 0.002  # macro, on slices of scans that training has not seen
LEAST_PEAKS_KEPT = 0.95  # share of slices


class Agreement(NamedTuple):
    """Two files on the same slices.

    Attributes:
        auroc: macro AUROC of the second.
        auroc_lost: that of the first less that; below 0 where the second is better.
        peaks_kept: share of slices on which the evidence for the class that the first file finds
            most probable has its peak in the same cell or one beside it.
        same_class: share of slices with the same most probable class.
        largest_change: largest difference of a probability.
    """

    auroc: float
    auroc_lost: float
    peaks_kept: float
    same_class: float
    largest_change: float

    def misses(self) -> str:
        """Say which limit is missed and by how much; "" where both are kept."""
        said = []
        if not self.auroc_lost <= MAX_AUROC_LOST:
            said.append(f"macro AUROC falls by {self.auroc_lost:.4f}, more than {MAX_AUROC_LOST}")
        if not self.peaks_kept >= LEAST_PEAKS_KEPT:
            said.append(
                f"the peak of the evidence stays in place on {self.peaks_kept:.1%} of the slices, "
                f"less than {LEAST_PEAKS_KEPT:.0%}"
            )
        return " and ".join(said)


def agreement(
    original: Sequence[Answer],
    converted: Sequence[Answer],
    labels: NDArray[np.int64],
    classes: Sequence[str],
) -> Agreement:
    """Compare the answers of two files to the same N slices.

    Args:
        original: of the file that was converted.
        converted: of the other.
        labels: int64 (N,), true class indices.
        classes: K names.
    """
    ours, theirs = (_probabilities(answers) for answers in (original, converted))
    before, after = (figures(labels, said, classes)["macro_auroc"] for said in (ours, theirs))
    return Agreement(
        auroc=after,
        auroc_lost=before - after,
        peaks_kept=peaks_kept(original, converted),
        same_class=float((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean()),
        largest_change=float(np.abs(ours - theirs).max()),
    )


def peaks_kept(original: Sequence[Answer], converted: Sequence[Answer]) -> float:
    """Return the share of slices whose peak of evidence moves by at most one cell.

    It is the peak for the class that the original finds most probable: what the overlay shows.
    """
    moved = [
        np.abs(_peak(ours, top) - _peak(theirs, top)).max()
        for ours, theirs in zip(original, converted, strict=True)
        for top in [int(ours.probabilities.argmax())]
    ]
    return float(np.mean(np.array(moved) <= 1))


def _peak(answer: Answer, class_: int) -> NDArray[np.int64]:
    of_class = answer.evidence[class_]
    return np.array(np.unravel_index(int(of_class.argmax()), of_class.shape))


def _probabilities(answers: Sequence[Answer]) -> NDArray[np.float32]:
    return np.stack([answer.probabilities for answer in answers])
