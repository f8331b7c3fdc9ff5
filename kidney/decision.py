"""Probabilities to a decision: a class, or the admission that a radiologist has to look."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEEDS_REVIEW = "needs_review"
_ROUNDING = 1e-5  # a float32 softmax may end a little above 1


@dataclass(frozen=True)
class Decision:
    """What to tell the reader about one slice.

    Attributes:
        label: the class with the highest probability, sure or not.
        probability: its probability, 0 to 1.
        needs_review: whether that is too low to stand without a radiologist.
    """

    label: str
    probability: float
    needs_review: bool

    @property
    def outcome(self) -> str:
        """The label, or "needs_review" when the label should not stand alone."""
        return NEEDS_REVIEW if self.needs_review else self.label


def decide(
    probabilities: NDArray[np.floating], classes: Sequence[str], review_below: float
) -> Decision:
    """Choose the class with the highest probability and say whether to trust it.

    Args:
        probabilities: float (C,), 0 to 1, calibrated.
        classes: C names in the same order. Of equally probable classes the first one wins.
        review_below: the answer needs review when its probability is below this, 0 to 1. A
            probability equal to it stands; 0 lets every answer stand.

    Raises:
        ValueError: not one probability for each class, or a probability that is not 0 to 1.
    """
    if probabilities.shape != (len(classes),) or not classes:
        raise ValueError(
            f"Expected one probability for each of {tuple(classes)}, but got an array of shape "
            f"{probabilities.shape}."
        )
    in_range = (probabilities >= -_ROUNDING) & (probabilities <= 1 + _ROUNDING)
    if not in_range.all():  # NaN is not in range either
        raise ValueError(f"Expected probabilities between 0 and 1, but got {probabilities}.")
    best = int(probabilities.argmax())
    probability = float(probabilities[best])
    return Decision(classes[best], probability, needs_review=probability < review_below)
