"""Probabilities to a decision: a class, or the admission that a radiologist has to look.

Beside the decision stand two answers that a reader may want more: the classes that cannot be told
apart on this slice (the prediction set), and the findings that cannot be excluded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

NEEDS_REVIEW = "needs_review"
NOT_A_KIDNEY_CT = "not_a_kidney_ct"
ACCEPT_NOTHING = 2.0  # a review_below that no probability reaches; infinity is no JSON
NORMAL = "normal"
_ROUNDING = 1e-5  # a float32 softmax may end a little above 1


@dataclass(frozen=True)
class Rules:
    """How probabilities become decisions; fitted on validation patients, carried by the card.

    A probability equal to a threshold reaches it.

    Attributes:
        review_below: an answer whose highest probability is below it needs a radiologist.
            ACCEPT_NOTHING: every answer does.
        suspect_from: operating points: finding -> probability from which it cannot be excluded;
            at 0 it never can.
        set_from: class -> probability from which it is in the prediction set.
        ood_above: an ood_score above it is unlike a kidney CT; None: there is no such score.
        series_from: finding -> score of a whole series from which it cannot be excluded, see
            `kidney.artifact.series`; a finding that is not named has its operating point there.
    """

    review_below: float
    suspect_from: Mapping[str, float]
    set_from: Mapping[str, float]
    ood_above: float | None
    series_from: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """What to tell the reader about one slice.

    Attributes:
        label: the class with the highest probability, sure or not.
        probability: its probability, 0 to 1.
        outcome: the label where it may stand alone; "not_a_kidney_ct" where the slice is unlike all
            that the model was trained on and no finding is suspected; else "needs_review".
        prediction_set: the classes that remain possible, in the order of the model's classes; the
            label is always one of them.
        suspected: the findings that cannot be excluded, in the same order.
        unfamiliar: whether the slice is unlike all that the model was trained on.
    """

    label: str
    probability: float
    outcome: str
    prediction_set: tuple[str, ...]
    suspected: tuple[str, ...]
    unfamiliar: bool = False


def findings(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the classes that can be suspected: all but "normal"."""
    return tuple(name for name in classes if name != NORMAL)


def decide(
    probabilities: NDArray[np.floating],
    classes: Sequence[str],
    rules: Rules,
    ood_score: float | None = None,
) -> Decision:
    """Choose the class with the highest probability and say how far to trust it.

    The label stands alone only if its probability is high enough, the prediction set holds nothing
    else, and no other finding is suspected. The highest probability alone let 10 % of the tumour
    slices of the public set stand as something else; with these conditions 2 % do.

    Args:
        probabilities: float (C,), 0 to 1, calibrated.
        classes: C names in the same order. Of equally probable classes the first one wins.
        rules: the thresholds that were fitted to this model.
        ood_score: how unlike the training data the slice is; None: not measured. A score that is
            not a number counts as unlike.

    Raises:
        ValueError: not one probability for each class, a probability that is not 0 to 1, or a
            class without a threshold.
    """
    if probabilities.shape != (len(classes),) or not classes:
        raise ValueError(
            f"Expected one probability for each of {tuple(classes)}, but got an array of shape "
            f"{probabilities.shape}."
        )
    in_range = (probabilities >= -_ROUNDING) & (probabilities <= 1 + _ROUNDING)
    if not in_range.all():  # NaN is not in range either
        raise ValueError(f"Expected probabilities between 0 and 1, but got {probabilities}.")
    for what, names, known in (
        ("an operating point for each finding", findings(classes), rules.suspect_from),
        ("a threshold of the prediction set for each class", classes, rules.set_from),
    ):
        if missing := set(names) - set(known):
            raise ValueError(f"Expected {what}, but {sorted(missing)} have none.")

    best = int(probabilities.argmax())
    label, probability = classes[best], float(probabilities[best])
    values = dict(zip(classes, probabilities.tolist(), strict=True))
    prediction_set = tuple(
        name for name in classes if name == label or values[name] >= rules.set_from[name]
    )
    suspected = tuple(
        name for name in findings(classes) if values[name] >= rules.suspect_from[name]
    )
    unfamiliar = (
        rules.ood_above is not None and ood_score is not None and not ood_score <= rules.ood_above
    )
    stands = (
        probability >= rules.review_below
        and len(prediction_set) == 1
        and set(suspected) <= {label}
        and not unfamiliar
    )
    outcome = label if stands else NEEDS_REVIEW
    if unfamiliar and not suspected:  # a suspected finding is never refused silently
        outcome = NOT_A_KIDNEY_CT
    return Decision(label, probability, outcome, prediction_set, suspected, unfamiliar)
