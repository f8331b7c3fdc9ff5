"""Validation slices -> the rules by which probabilities become decisions, and what the rules do.

Patients weigh one each in all of these: the next patient is a draw of patients, and one long scan
must not set the threshold for all. `patients` is (N,), the patient of each slice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kidney.artifact.decision import ACCEPT_NOTHING, Rules, findings
from kidney.evaluation.metrics.classification import (
    group_weights,
    sensitivity_of,
    specificity_of,
)
from kidney.evaluation.metrics.ood import ood_threshold

Curve = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]

DELTA = 0.2  # chance that the answers that stand are wrong more often than stated
_ROUNDING = 1e-9  # sums of 1 / slices miss whole numbers by less
_STEPS = 200  # shares of the validation patients' own slices are tried in steps of 1 / 200
_BETS = np.linspace(0.1, 1.0, 10)  # shares of the highest stake


def fit_rules(
    labels: NDArray[np.int64],
    probabilities: NDArray[np.floating],
    patients: NDArray[np.str_],
    ood_scores: NDArray[np.floating] | None,
    classes: Sequence[str],
    sensitivity: float,
    coverage: float,
    risk: float,
    id_acceptance: float,
) -> Rules:
    """Fit all thresholds for slices to validation slices.

    Args:
        probabilities: float (N, K), calibrated. They must come from models that have not seen the
            slice: of the validation part or, better by far where patients are few, of all training
            folds, each predicted by a model that was trained without it.
        id_acceptance: share of the slices of each class that are accepted as kidney CT, see
            `ood_threshold`.
    """
    suspect_from, set_from = {}, {}
    for k, name in enumerate(classes):
        own, whose = probabilities[labels == k, k], patients[labels == k]
        set_from[name] = class_set_threshold(own, whose, coverage)
        if name in findings(classes):
            suspect_from[name] = operating_point(own, whose, sensitivity)
    candidates = unambiguous(probabilities, classes, suspect_from, set_from)
    confidence = np.where(candidates, probabilities.max(axis=1), -1.0)
    return Rules(
        review_below=review_threshold(
            confidence, probabilities.argmax(axis=1) != labels, patients, risk
        ),
        suspect_from=suspect_from,
        set_from=set_from,
        ood_above=None
        if ood_scores is None
        else ood_threshold(ood_scores, labels, patients, id_acceptance),
    )


def unambiguous(
    probabilities: NDArray[np.floating],
    classes: Sequence[str],
    suspect_from: Mapping[str, float],
    set_from: Mapping[str, float],
) -> NDArray[np.bool_]:
    """Return which predictions may stand alone if they are confident enough: bool (N,).

    Those whose prediction set holds one class, and of which no other finding is suspected.
    """
    least = [min(set_from[name], suspect_from.get(name, np.inf)) for name in classes]
    possible = probabilities >= np.array(least)
    possible[np.arange(len(possible)), probabilities.argmax(axis=1)] = True
    return np.asarray(possible.sum(axis=1) == 1)


def operating_point(
    probabilities: NDArray[np.floating], patients: NDArray[np.str_], sensitivity: float
) -> float:
    """Return the probability from which a finding is suspected.

    A threshold read off a few patients so that it finds 90 % of *their* slices finds fewer of the
    next patient's, since it was fitted to them. So the share of the validation slices that the
    threshold must find is raised, from the stated sensitivity up to all, until the same rule finds
    enough in the patients that were left out, one at a time (the jackknife estimate of the
    optimism; Efron 1983). Where even all is not enough, or there is one patient alone, nothing is
    known about a new one: the finding is always suspected.

    Measured for 90 %, new groups weighing one each. Simulation, 3 to 40 groups that differ little
    or much: 0.89 to 0.93 on average; the plain quantile 0.78 to 0.90. Nested cross-validation by
    scan on the public set (91 scans, 6 assignments): tumour, with 9 or 10 validation scans, 0.93 at
    specificity 0.33, cyst 0.93, stone 0.90; the plain quantile 0.90, 0.91, 0.89. The bound that
    holds whatever the distribution (`set_threshold` on the scans of this class) gave 0.98, 0.95,
    0.92, but for tumour a specificity of 0.19, and it excludes nothing before there are 9 scans.

    Args:
        probabilities: float (N,), the calibrated probability of the finding on the validation
            slices that have it.
        sensitivity: the share of the finding's slices of a new patient to be suspected, 0 to 1.

    Returns:
        The threshold; a probability equal to it is suspected. 0: always suspected.
    """
    order = np.argsort(-probabilities, kind="stable")
    descending = probabilities[order]
    names, patient_of = np.unique(patients[order], return_inverse=True)
    if len(names) < 2:
        return 0.0
    weights = group_weights(patients[order])
    levels = np.arange(np.ceil(sensitivity * _STEPS - 1e-9), _STEPS + 1) / _STEPS

    found = np.zeros(len(levels))  # mean sensitivity on the patients left out, for each level
    for patient in range(len(names)):
        out = patient_of == patient
        kept = np.cumsum(weights * ~out)
        for place, level in enumerate(levels):
            threshold = threshold_that_keeps(descending, kept, level * (len(names) - 1))
            found[place] += sensitivity_of(descending[out], threshold) / len(names)
    enough = found >= sensitivity - 1e-9
    if not enough.any():
        return 0.0
    level = levels[enough.argmax()]
    return threshold_that_keeps(descending, np.cumsum(weights), level * len(names))


def threshold_that_keeps(
    descending: NDArray[np.floating], kept: NDArray[np.floating], wanted: float
) -> float:
    """Return the highest threshold at which the weight that reaches it is as much as wanted.

    Args:
        descending: float (N,), probabilities from the highest on.
        kept: float (N,), the sum of the weights up to each of them.

    Returns:
        One of the probabilities; 0 where all of them together weigh less.
    """
    place = int(np.searchsorted(kept, wanted - _ROUNDING))
    return float(descending[place]) if place < len(descending) else 0.0


def set_threshold(own: NDArray[np.floating], patients: NDArray[np.str_], coverage: float) -> float:
    """Return the probability from which a class belongs to the prediction set.

    Split conformal prediction with the score 1 - probability of the true class. Slices of one
    patient are not exchangeable with those of a new one, but patients are: each weighs one,
    whatever its number of slices, and the new patient counts as one more whose slices all lie below
    the threshold. Then a slice drawn from a new patient has its class in the set with at least the
    stated probability, however the slices of a patient depend on each other (hierarchical conformal
    prediction: Lee, Barber and Willett 2023; cf. Dunn, Wasserman and Ramdas 2022). It is exact
    where the probabilities were fixed before: a temperature fitted to the same patients, or folds
    that several models predicted, leave it approximate.

    Args:
        own: float (N,), the calibrated probability of the true class of each validation slice.

    Returns:
        The highest threshold that keeps the promise; 0, so that the class is in every set, where
        there are fewer than coverage / (1 - coverage) patients: 9 for 90 %.
    """
    order = np.argsort(-own, kind="stable")
    kept = np.cumsum(group_weights(patients)[order])
    return threshold_that_keeps(own[order], kept, coverage * (len(np.unique(patients)) + 1))


def class_set_threshold(
    own: NDArray[np.floating], patients: NDArray[np.str_], coverage: float
) -> float:
    """Return the probability from which one class belongs to the prediction set.

    Class-conditional (Mondrian) conformal prediction (Vovk 2012): a quantile for each class, so
    that the sets hold the true class as often among tumours as among the rest. One quantile for all
    covered 0.91 of all slices of the public set, and 0.78 of the tumour slices.

    `set_threshold` promises that for any distribution, but with fewer than 9 patients (for 90 %) at
    the price of the class in every set, and so of no answer that stands. The public set has 7
    patients with tumours. Below that number the threshold is that of `operating_point`, whose
    coverage is right on average (0.89 to 0.93 in simulation) without a promise.
    """
    if len(np.unique(patients)) * (1 - coverage) >= coverage - _ROUNDING:
        return set_threshold(own, patients, coverage)
    return operating_point(own, patients, coverage)


def set_coverage(sets: NDArray[np.bool_], labels: NDArray[np.int64]) -> float:
    """Return the share of slices whose true class is in their set, 0 to 1; NaN without any."""
    return float(sets[np.arange(len(sets)), labels].mean()) if len(labels) else float("nan")


def risk_coverage(confidence: NDArray[np.floating], wrong: NDArray[np.bool_]) -> Curve:
    """Return what happens when answers are accepted from the most confident on.

    Equally confident answers are accepted together, so the order of the slices plays no part.

    Args:
        confidence: float (N,), the highest probability of each slice.
        wrong: bool (N,), whether its class is not the true one.

    Returns:
        For each distinct confidence, from the highest on: itself as threshold; the coverage, the
        share of all answers that are accepted, rising to 1; the risk, the share of wrong ones among
        the accepted.
    """
    thresholds, rank = np.unique(-confidence, return_inverse=True)
    accepted = np.cumsum(np.bincount(rank))
    return -thresholds, accepted / accepted[-1], np.cumsum(np.bincount(rank, wrong)) / accepted


def area_under_risk_coverage(confidence: NDArray[np.floating], wrong: NDArray[np.bool_]) -> float:
    """Return the mean risk over all coverages (AURC, Geifman and El-Yaniv 2017), 0 to 1.

    Low is good; the error rate itself where the confidence says nothing of the errors.
    """
    _, coverage, risk = risk_coverage(confidence, wrong)
    return float(risk @ np.diff(coverage, prepend=0.0))


def review_threshold(
    confidence: NDArray[np.floating],
    wrong: NDArray[np.bool_],
    patients: NDArray[np.str_],
    risk: float,
    delta: float = DELTA,
) -> float:
    """Return the confidence below which an answer needs a radiologist.

    Learn then Test with a fixed sequence (Angelopoulos, Bates, Candes, Jordan and Lei 2021): going
    down from the most confident answers, each threshold is tested for "the answers that stand are
    wrong more often than `risk`", and the first one that the test does not refute ends it. Then the
    risk is kept with probability 1 - `delta`. Conformal risk control, the choice before, needs a
    loss that is monotone in the threshold; the share of wrong ones among the accepted is not.

    The sequence begins where the test would pass with one patient that is wrong throughout: at
    thresholds above that no outcome but perfection could pass. This depends on the confidences
    alone, so the sequence is fixed before the errors are looked at.

    Args:
        confidence: float (N,), the highest probability of each validation slice; negative where no
            confidence lets the answer stand.
        risk: the highest share of wrong answers among those that stand, 0 to 1.
        delta: the chance that this fails.

    Returns:
        A confidence; one equal to it stands. ACCEPT_NOTHING where no threshold keeps the risk, as
        with fewer than about 20 patients at 15 %: then every answer needs a radiologist.
    """
    names, patient_of = np.unique(patients, return_inverse=True)
    weights = group_weights(patients)
    accepted, excess = np.zeros(len(names)), np.zeros(len(names))
    thresholds, rank = np.unique(-confidence, return_inverse=True)
    rows_of = np.split(np.argsort(rank, kind="stable"), np.cumsum(np.bincount(rank))[:-1])
    chosen, begun = ACCEPT_NOTHING, False
    for threshold, rows in zip((-thresholds).tolist(), rows_of, strict=True):
        if threshold < 0:
            break
        np.add.at(accepted, patient_of[rows], weights[rows])
        np.add.at(excess, patient_of[rows], weights[rows] * (wrong[rows] - risk))
        if not begun:
            one_wrong = -risk * accepted
            one_wrong[accepted.argmax()] = (1 - risk) * accepted.max()
            begun = risk_p_value(one_wrong, risk) <= delta
        if begun:
            if risk_p_value(excess, risk) > delta:
                break
            chosen = threshold
    return chosen


def risk_p_value(excess: NDArray[np.floating], risk: float) -> float:
    """Return the p-value of "the accepted answers of a new patient are wrong more than `risk`".

    A patient's excess is the mean over its slices of accepted * (wrong - risk), -risk to 1 - risk;
    the hypothesis is that its expectation is 0 or more. Under it the wealth of a gambler who stakes
    a fixed share against each patient does not grow on average (betting; Waudby-Smith and Ramdas,
    JRSS B 2024), so its inverse is a p-value (Markov), for any number of patients and any
    distribution. Several stakes are averaged. Patients of whom nothing is accepted cost nothing.
    """
    stakes = _BETS[:, None] / (1 - risk)
    wealth = np.exp(np.log(np.maximum(1 - stakes * excess, 1e-300)).sum(axis=1)).mean()
    return float(min(1.0, 1.0 / max(wealth, 1e-300)))


@dataclass(frozen=True)
class SeriesThreshold:
    """The score from which a finding cannot be excluded on a series, and what it was fitted on."""

    threshold: float  # a score equal to it reaches it; 0: the finding can never be excluded
    sensitivity: float  # the share of the series with the finding that reach it
    specificity: float  # the share of the series without it that do not; NaN without any
    with_finding: int  # how many series
    without: int


def fit_series_threshold(
    scores: NDArray[np.floating], has_finding: NDArray[np.bool_], sensitivity: float
) -> SeriesThreshold:
    """Fit the threshold of one finding for whole series.

    It is the highest that a new series with the finding reaches with the stated probability (split
    conformal prediction: the series counts as one more that lies below). It is then lowered to the
    middle between itself and the next lower score of a series without the finding: that costs no
    false alarm of the series at hand.

    Args:
        scores: float (S,), of `kidney.artifact.series.finding_score`, one series a patient. They
            must be series as a hospital sends them, with slices that do not show the finding.

    Returns:
        Its threshold is 0 where there are fewer than sensitivity / (1 - sensitivity) series with
        the finding: 9 for 90 %.
    """
    positives, negatives = np.sort(scores[has_finding])[::-1], scores[~has_finding]
    threshold = threshold_that_keeps(
        positives, np.arange(1, len(positives) + 1.0), sensitivity * (len(positives) + 1)
    )
    if len(lower := negatives[negatives < threshold]):
        threshold = (threshold + float(lower.max())) / 2
    return SeriesThreshold(
        threshold=threshold,
        sensitivity=sensitivity_of(positives, threshold),
        specificity=specificity_of(negatives, threshold),
        with_finding=len(positives),
        without=len(negatives),
    )
