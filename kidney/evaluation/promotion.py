"""A challenger replaces the champion only where it is better beyond chance and harms nothing.

The evidence is what both say of slices that their training has not seen, of whole patients. The
best there is are the pooled test parts of a cross-validation: every patient counts, where one fold
of the public set holds 18 scans and could show none but huge differences. They judge the recipe
that made the artifact, by the mean of its siblings. Each judgement reads test parts, and a
challenger that is no better passes by chance in at most ALPHA of the cases: the permutation test is
exact, and a simulation of it is among the tests. So the gate is for the few that were chosen by
validation figures, and not to choose among many.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from kidney.evaluation.metrics.bootstrap import (
    REPEATS,
    Interval,
    paired_differences,
    patient_intervals,
    permutation_p_value,
)
from kidney.evaluation.metrics.calibration import expected_calibration_error
from kidney.evaluation.metrics.classification import labels_of, macro_auroc
from kidney.evaluation.result import EvaluationResult

ALPHA = 0.025  # chance that a challenger that is no better is called better
SLICE = ["path", "frame"]
_NOT_BY_PATIENT = {
    "leaky": "slices of its test patients were in training",
    "external": "nobody knows whether its training saw these slices",
}


@dataclass(frozen=True)
class EvaluationRecord:
    """The evaluation of one model."""

    # one row a slice: path, frame, label, patient, a column of probabilities for each class, and
    # fold where several folds are pooled
    predictions: pd.DataFrame
    result: EvaluationResult
    # path, frame, patient and peak_inside (0 or 1: whether the peak of the evidence lies in the
    # lesion), one row for each slice with a mask; None: not measured
    located: pd.DataFrame | None = None


@dataclass(frozen=True)
class Verdict:
    """Whether to promote, and why or why not, in sentences with the numbers; objections first."""

    promote: bool
    reasons: tuple[str, ...]


class _Check(NamedTuple):
    passes: bool
    reason: str


def judge(
    champion: EvaluationRecord | None,
    challenger: EvaluationRecord,
    max_ece_rise: float,
    max_localisation_fall: float,
    repeats: int = REPEATS,
) -> Verdict:
    """Decide whether the challenger replaces the champion.

    It does where all of these hold, each paired, with patients as the unit:

    - its macro AUROC is higher: the permutation test that swaps the two models' predictions by
      patient gives p <= ALPHA. Both models' probabilities of a class are ranked before, so that
      swaps mix no scales.
    - its calibration does not fall. The ECE is not shown to be higher (interval above 0), and it is
      shown not to be higher by `max_ece_rise` or more (upper end below it). The first alone would
      let almost anything pass: with the 91 scans of the public set's part, an ECE that rises from
      0.025 to 0.120 has the interval -0.026 to 0.132. The second is a test for non-inferiority
      (Piaggio et al., JAMA 2012): few scans count against the challenger, not for it.
    - its localisation does not fall, likewise, where both have it of the same slices.

    Without a champion the macro AUROC has to be above chance beyond its own interval.

    Args:
        max_ece_rise: largest rise of the ECE that is tolerated, 0 to 1. Of two recipes with equal
            ECE on those 91 scans the upper end was 0.02 to 0.04, of a rise by 0.05 it was 0.07.
        max_localisation_fall: largest fall of the share of peaks inside the lesion, 0 to 1.
    """
    problems = [*unfit("challenger", challenger)]
    if champion:
        problems += [*unfit("champion", champion), *not_the_same(champion, challenger)]
    if problems:
        return Verdict(False, tuple(problems))
    if champion is None:
        return _verdict([_above_chance(challenger, repeats)])
    checks = _by_probabilities(champion, challenger, max_ece_rise, repeats)
    return _verdict([*checks, _localisation(champion, challenger, max_localisation_fall, repeats)])


def _verdict(checks: list[_Check]) -> Verdict:
    ordered = sorted(checks, key=lambda check: check.passes)
    return Verdict(all(c.passes for c in checks), tuple(check.reason for check in ordered))


def _by_probabilities(
    champion: EvaluationRecord, challenger: EvaluationRecord, max_ece_rise: float, repeats: int
) -> list[_Check]:
    classes = sorted(champion.result.classes)  # in one order, so that draws are the same
    was, now = (ordered(record.predictions) for record in (champion, challenger))
    labels = labels_of(was, classes)
    before, after = (predictions[classes].to_numpy(np.float64) for predictions in (was, now))
    patients = was["patient"].to_numpy()

    def of(labels: NDArray[np.int64], probabilities: NDArray[np.floating]) -> dict[str, float]:
        right = probabilities.argmax(axis=1) == labels
        return {
            "macro_auroc": macro_auroc(labels, probabilities),
            "ece": expected_calibration_error(probabilities.max(axis=1), right),
        }

    changes = paired_differences(of, before, after, labels, patients, repeats)
    then, today = of(labels, before), of(labels, after)
    p_value = permutation_p_value(
        lambda ranks: macro_auroc(labels, ranks),
        rankdata(before, axis=0),
        rankdata(after, axis=0),
        patients,
        repeats,
    )
    numbers = {
        name: _numbers(then[name], today[name], changes[name], len(set(patients)))
        for name in changes
    }
    return [
        _better("macro AUROC", p_value, numbers["macro_auroc"]),
        _not_worse("ECE", changes["ece"], +1, max_ece_rise, numbers["ece"]),
    ]


def _localisation(
    champion: EvaluationRecord, challenger: EvaluationRecord, max_fall: float, repeats: int
) -> _Check:
    if champion.located is None or challenger.located is None:
        both = {"champion": champion, "challenger": challenger}
        missing = " and ".join(f"the {who}" for who in both if both[who].located is None)
        return _Check(True, f"Localisation is not compared: not measured of {missing}.")
    was, now = ordered(champion.located), ordered(challenger.located)
    if not was[[*SLICE, "patient"]].equals(now[[*SLICE, "patient"]]):
        return _Check(
            False, "Localisation cannot be compared: it was measured on different slices."
        )
    before, after = (located["peak_inside"].to_numpy(np.float64) for located in (was, now))

    def of(_: NDArray[np.int64], hits: NDArray[np.floating]) -> dict[str, float]:
        return {"peak_inside": float(hits.mean())}

    patients = was["patient"].to_numpy()
    one_class = np.zeros(len(was), dtype=np.int64)
    change = paired_differences(of, before, after, one_class, patients, repeats)["peak_inside"]
    numbers = _numbers(before.mean(), after.mean(), change, len(set(patients)))
    return _not_worse("share of peaks inside the lesion", change, -1, max_fall, numbers)


def _above_chance(challenger: EvaluationRecord, repeats: int) -> _Check:
    classes = sorted(challenger.result.classes)
    predictions = ordered(challenger.predictions)
    labels = labels_of(predictions, classes)
    probabilities = predictions[classes].to_numpy(np.float64)

    def of_rows(rows: NDArray[np.int64]) -> dict[str, float]:
        return {"auroc": macro_auroc(labels[rows], probabilities[rows])}

    patients = predictions["patient"].to_numpy()
    auroc = patient_intervals(of_rows, patients, labels, repeats)["auroc"]
    if auroc["low"] is None:
        return _Check(
            False,
            "There is no champion yet, but the macro AUROC is not defined, or of too few patients.",
        )
    above = auroc["low"] > 0.5
    return _Check(
        above,
        f"There is no champion yet, and the macro AUROC by patient is {'' if above else 'not '}"
        f"above chance beyond its interval: {auroc['value']:.3f} (95 % interval "
        f"{auroc['low']:.3f} to {auroc['high']:.3f} over {len(set(patients))} patients).",
    )


def _better(figure: str, p_value: float, numbers: str) -> _Check:
    better = p_value <= ALPHA
    shown = f"{numbers}; p = {p_value:.3f} by permutation, {ALPHA:g} or less is asked for"
    return _Check(better, f"The {figure} is {'' if better else 'not '}better: {shown}.")


def _not_worse(figure: str, change: Interval, worse: int, margin: float, numbers: str) -> _Check:
    """Check a figure that must not change in the direction `worse`, +1 up or -1 down."""
    if change["low"] is None or change["high"] is None:
        return _Check(False, f"The {figure} cannot be compared: {numbers}.")
    least, most = sorted((worse * change["low"], worse * change["high"]))
    if least > 0:
        return _Check(False, f"The {figure} is worse: {numbers}.")
    if most >= margin:
        return _Check(
            False,
            f"The {figure} is not shown to stay: {numbers}, which does not exclude that it is "
            f"worse by {margin:g}.",
        )
    return _Check(True, f"The {figure} stays: {numbers}, which excludes that it is worse by "
                        f"{margin:g}.")  # fmt: skip


def _numbers(was: float, now: float, change: Interval, patients: int) -> str:
    if change["value"] is None:
        return "it is not defined"
    known = f"{now:.3f} against {was:.3f} of the champion, difference {change['value']:+.3f}"
    if change["low"] is None:
        return f"{known} (over {patients} patients, too few for an interval)"
    return (
        f"{known} (95 % interval {change['low']:+.3f} to {change['high']:+.3f} over {patients} "
        "patients)"
    )


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


def macro_auroc_of(record: EvaluationRecord) -> float:
    """Return the macro AUROC of the predictions, 0 to 1; NaN where no class has both sides."""
    classes = list(record.result.classes)
    probabilities = record.predictions[classes].to_numpy(np.float64)
    return macro_auroc(labels_of(record.predictions, classes), probabilities)


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows in the order of their slices, so that two tables' rows match."""
    return table.sort_values(SLICE, ignore_index=True)
