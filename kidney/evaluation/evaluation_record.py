"""What a promotion is decided by, and whether two models can be compared by it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kidney.evaluation.metrics.classification import figures
from kidney.evaluation.result import EvaluationResult

SLICE = ["path", "frame"]
_NOT_BY_PATIENT = {
    "leaky": "slices of its test patients were in training",
    "external": "nobody knows whether its training saw these slices",
}


@dataclass(frozen=True)
class EvaluationRecord:
    """The evaluation of one model.

    Attributes:
        predictions: one row a slice: path, frame, label, patient, a column of probabilities for
            each class, and fold where several folds are pooled.
        result: the figures of the same evaluation.
        located: path, frame, patient and peak_inside (0 or 1: whether the peak of the evidence
            lies in the lesion), one row for each slice with a mask; None: not measured.
    """

    predictions: pd.DataFrame
    result: EvaluationResult
    located: pd.DataFrame | None = None


def unfit(who: str, record: EvaluationRecord) -> Iterator[str]:
    """Yield why an evaluation cannot show how the model does with new patients."""
    split = record.result.split
    if why := _NOT_BY_PATIENT.get(split.name):
        yield f"The {who}'s evaluation is on {split.name!r} and not on a split by patient: {why}."
    elif split.part != "test":
        yield (
            f"The {who}'s evaluation is of the {split.part} part, and not of a test part that "
            "nothing was chosen by."
        )
    if record.predictions.duplicated(SLICE).any():
        yield f"The {who}'s evaluation names a slice twice."
    if "fold" in record.predictions:
        folds = record.predictions.groupby("patient")["fold"].nunique()
        if len(torn := folds.index[folds > 1]):
            yield (
                f"The {who}'s evaluation leaks: {len(torn)} patients lie in more than one fold, "
                f"for example {torn[0]}."
            )


def not_the_same(champion: EvaluationRecord, challenger: EvaluationRecord) -> Iterator[str]:
    """Yield why two evaluations cannot be compared slice by slice."""
    was, now = champion.result, challenger.result
    for what, a, b in (
        ("classes", sorted(was.classes), sorted(now.classes)),
        ("data", was.data.fingerprint, now.data.fingerprint),
        ("split", was.split.fingerprint, now.split.fingerprint),
        ("fold", was.split.fold, now.split.fold),
    ):
        if a != b:
            yield (
                f"They cannot be compared: expected the same {what}, but the champion's evaluation "
                f"has {a} and the challenger's {b}. Evaluate both on the same."
            )
            return
    named = [*SLICE, "label", "patient"]
    rows = [
        set(record.predictions[named].itertuples(index=False, name=None))
        for record in (champion, challenger)
    ]
    if rows[0] != rows[1]:
        odd = min(rows[0] ^ rows[1])
        yield (
            f"They cannot be compared: {len(rows[0] - rows[1])} slices are in the champion's "
            f"evaluation alone and {len(rows[1] - rows[0])} in the challenger's, or have another "
            f"label or patient there, for example {odd[0]}. Evaluate both on the same slices."
        )


def macro_auroc(record: EvaluationRecord) -> float:
    """Return the macro AUROC of the predictions, 0 to 1; NaN where no class has both sides."""
    classes = list(record.result.classes)
    probabilities = record.predictions[classes].to_numpy(np.float64)
    return figures(labels_of(record.predictions, classes), probabilities, classes)["macro_auroc"]


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows in the order of their slices, so that two tables' rows match."""
    return table.sort_values(SLICE, ignore_index=True)


def labels_of(predictions: pd.DataFrame, classes: list[str]) -> NDArray[np.int64]:
    """Return the place of each row's label among the classes, int64 (N,)."""
    return predictions["label"].map(classes.index).to_numpy(np.int64)
