"""Validation scans -> the rules by which a model's probabilities become decisions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kidney.artifact.decision import Rules, findings
from kidney.evaluation.metrics.abstention import review_threshold
from kidney.evaluation.metrics.conformal import set_threshold
from kidney.evaluation.metrics.operating_points import operating_point
from kidney.evaluation.metrics.scan_level import scan_weights


def fit_rules(
    labels: NDArray[np.int64],
    probabilities: NDArray[np.floating],
    scans: NDArray[np.str_],
    ood_scores: NDArray[np.floating] | None,
    classes: Sequence[str],
    sensitivity: float,
    coverage: float,
    risk: float,
    id_acceptance: float,
) -> Rules:
    """Fit all thresholds to validation slices; scans weigh one each.

    Args:
        labels: int64 (N,), class indices below K.
        probabilities: float (N, K), calibrated. They must come from models that have not seen the
            slice: of the validation part or, better by far where scans are few, of all training
            folds, each answered by a model that was trained without it.
        scans: (N,) the scan of each slice.
        ood_scores: float (N,), high is unfamiliar; None: the model has no such score.
        classes: K names.
        sensitivity: of each finding at its operating point, see `operating_point`.
        coverage: of the prediction sets, see `set_threshold`.
        risk: of the answers that stand, see `review_threshold`.
        id_acceptance: share of validation slices whose ood_score is not above the threshold. It is
            a plain quantile: with 20 scans nothing certain can be said about one in twenty.
    """
    weights = scan_weights(scans)
    called = probabilities.argmax(axis=1)
    suspect_from = {}
    for name in findings(classes):
        k = classes.index(name)
        has = labels == k
        suspect_from[name] = operating_point(probabilities[has, k], scans[has], sensitivity)
    ood_above = None
    if ood_scores is not None:
        ood_above = np.quantile(ood_scores, id_acceptance, weights=weights, method="inverted_cdf")
    return Rules(
        review_below=review_threshold(probabilities.max(axis=1), called != labels, weights, risk),
        suspect_from=suspect_from,
        set_from=set_threshold(probabilities[np.arange(len(labels)), labels], scans, coverage),
        ood_above=None if ood_above is None else float(ood_above),
    )
