"""Are pictures that are no kidney CT told from kidney CT? Figures of scores of both."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kidney.evaluation.metrics.bootstrap import Interval, patient_intervals
from kidney.evaluation.metrics.classification import auroc, group_weights

_OWN, _OTHER = 0, 1


class Scored(NamedTuple):
    """Scores (N,) of pictures, higher is stranger, and what each belongs to (N,): its scan, say."""

    scores: NDArray[np.floating]
    groups: NDArray[np.str_]


def ood_threshold(
    scores: NDArray[np.floating],
    labels: NDArray[np.int64],
    patients: NDArray[np.str_],
    acceptance: float,
) -> float:
    """Return the score above which a slice is refused as no kidney CT.

    It accepts the stated share of the slices of *every* class, patients weighing one each: the
    highest of the classes' quantiles. One quantile for all refused 5 % of the public set and 15 %
    of its tumour slices, which then counted for nothing. These are plain quantiles: with 7 patients
    of a class nothing certain can be told about one slice in twenty.

    Args:
        scores: float (N,), high is unlike the training slices.
        labels: int64 (N,), class indices.
        patients: (N,) the patient of each slice.
        acceptance: share of the slices of each class, 0 to 1.
    """
    return max(
        float(
            np.quantile(
                scores[labels == label],
                acceptance,
                weights=group_weights(patients[labels == label]),
                method="inverted_cdf",
            )
        )
        for label in np.unique(labels)
    )


def ood_figures(own: Scored, others: Mapping[str, Scored], above: float) -> dict[str, Interval]:
    """Return what the score does to kidney CT and to other pictures.

    Args:
        own: kidney CT that neither the score nor `above` was fitted on.
        others: a name, such as "noise", -> pictures of that kind.
        above: scores above it are refused.

    Returns:
        refused_own, the share of slices of `own` that is refused, a scan counting once; for each
        kind auroc_KIND, the chance that one of the kind scores above one of `own`, and
        refused_KIND. Intervals: whole groups resampled, on both sides.
    """

    def refused(scored: Scored) -> Interval:
        weights = group_weights(scored.groups)
        hit = scored.scores > above

        def of_rows(rows: NDArray[np.int64]) -> dict[str, float]:
            return {"refused": float(np.average(hit[rows], weights=weights[rows]))}

        same = np.zeros(len(hit), dtype=np.int64)
        return patient_intervals(of_rows, scored.groups, same)["refused"]

    found = {"refused_own": refused(own)}
    for kind, other in others.items():
        found[f"auroc_{kind}"] = _auroc(own, other)
        found[f"refused_{kind}"] = refused(other)
    return found


def _auroc(own: Scored, other: Scored) -> Interval:
    scores = np.concatenate([own.scores, other.scores])
    side = np.repeat([_OWN, _OTHER], [len(own.scores), len(other.scores)])
    # A picture made of a scan bears its name: on the two sides they are drawn apart.
    pairs = zip(side, np.concatenate([own.groups, other.groups]), strict=True)
    groups = np.array([f"{one} {name}" for one, name in pairs])

    def of_rows(rows: NDArray[np.int64]) -> dict[str, float]:
        return {"auroc": auroc(side[rows] == _OTHER, scores[rows])}

    return patient_intervals(of_rows, groups, side.astype(np.int64))["auroc"]
