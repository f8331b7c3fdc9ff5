"""Probabilities to a decision: a class, or the admission that a radiologist has to look.

Beside the decision stand two answers that a reader may want more: the classes that cannot be told
apart on this slice (the prediction set), and the findings that cannot be excluded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEEDS_REVIEW = "needs_review"
NOT_A_KIDNEY_CT = "not_a_kidney_ct"
ACCEPT_NOTHING = 2.0  # a review_below that no probability reaches; infinity is no JSON
_NORMAL = "normal"
_ROUNDING = 1e-5  # a float32 softmax may end a little above 1


@dataclass(frozen=True)
class Rules:
    """How probabilities become decisions; fitted on validation scans, carried by the card.

    A probability equal to a threshold reaches it.

    Attributes:
        review_below: an answer whose highest probability is below it needs a radiologist. 0 lets
            every answer stand, ACCEPT_NOTHING none.
        suspect_from: operating points: finding -> probability from which it cannot be excluded;
            at 0 it never can.
        set_from: a class is in the prediction set from this probability on.
        ood_above: an ood_score above it is not a kidney CT; None: there is no such score.
    """

    review_below: float
    suspect_from: Mapping[str, float]
    set_from: float
    ood_above: float | None


@dataclass(frozen=True)
class Decision:
    """What to tell the reader about one slice.

    Attributes:
        label: the class with the highest probability, sure or not.
        probability: its probability, 0 to 1.
        outcome: the label where it may stand alone, else "needs_review", or "not_a_kidney_ct" when
            the slice is unlike all that the model was trained on.
        prediction_set: the classes that remain possible, in the order of the model's classes; the
            label is always one of them.
        suspected: the findings that cannot be excluded, in the same order.
    """

    label: str
    probability: float
    outcome: str
    prediction_set: tuple[str, ...]
    suspected: tuple[str, ...]


def findings(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the classes that can be suspected: all but "normal"."""
    return tuple(name for name in classes if name != _NORMAL)


def decide(
    probabilities: NDArray[np.floating],
    classes: Sequence[str],
    rules: Rules,
    ood_score: float | None = None,
) -> Decision:
    """Choose the class with the highest probability and say how far to trust it.

    Args:
        probabilities: float (C,), 0 to 1, calibrated.
        classes: C names in the same order. Of equally probable classes the first one wins.
        rules: the thresholds that were fitted to this model.
        ood_score: how unlike the training data the slice is; None: not measured. A score that is
            not a number counts as unlike.

    Raises:
        ValueError: not one probability for each class, a probability that is not 0 to 1, or a
            finding without an operating point.
    """
    if probabilities.shape != (len(classes),) or not classes:
        raise ValueError(
            f"Expected one probability for each of {tuple(classes)}, but got an array of shape "
            f"{probabilities.shape}."
        )
    in_range = (probabilities >= -_ROUNDING) & (probabilities <= 1 + _ROUNDING)
    if not in_range.all():  # NaN is not in range either
        raise ValueError(f"Expected probabilities between 0 and 1, but got {probabilities}.")
    if missing := set(findings(classes)) - set(rules.suspect_from):
        raise ValueError(
            f"Expected an operating point for each finding, but {sorted(missing)} have none."
        )

    best = int(probabilities.argmax())
    label, probability = classes[best], float(probabilities[best])
    outcome = label if probability >= rules.review_below else NEEDS_REVIEW
    if rules.ood_above is not None and ood_score is not None and not ood_score <= rules.ood_above:
        outcome = NOT_A_KIDNEY_CT
    values = dict(zip(classes, probabilities.tolist(), strict=True))
    return Decision(
        label=label,
        probability=probability,
        outcome=outcome,
        prediction_set=tuple(
            name for name in classes if name == label or values[name] >= rules.set_from
        ),
        suspected=tuple(
            name for name in findings(classes) if values[name] >= rules.suspect_from[name]
        ),
    )
