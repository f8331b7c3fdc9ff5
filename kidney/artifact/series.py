"""Slices to studies: what a whole scan says, and which of its slices decide it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kidney.artifact.decision import (
    NEEDS_REVIEW,
    NOT_A_KIDNEY_CT,
    Decision,
    Rules,
    decide,
    findings,
)

MOST_DECISIVE = 8  # slices that a reader is sent to
_SMALLEST = 1e-12  # a probability of 0 would veto its class for the whole scan


@dataclass(frozen=True, eq=False)
class StudyAnswer:
    """What a study says.

    Attributes:
        probabilities: float64 (C,), rows of its slices pooled.
        decision: of these, by the rules of slices.
        decisive: places of the slices that speak most for the study's label, most telling first.
        counts: outcome -> how many slices have it; every class, "needs_review" and
            "not_a_kidney_ct" are there.
        suspected: finding -> on how many of the slices that count it cannot be excluded.
    """

    probabilities: NDArray[np.float64]
    decision: Decision
    decisive: tuple[int, ...]
    counts: dict[str, int]
    suspected: dict[str, int]


def pool(
    probabilities: NDArray[np.floating], study_of: NDArray[np.integer], studies: int
) -> NDArray[np.float64]:
    """Return the answer of each study: the softmax of the mean over slices of log probability.

    That is the normalised geometric mean (a logarithmic opinion pool, Genest and Zidek 1986). The
    mean and not the sum, since near copies do not add up as independent evidence would.

    Args:
        probabilities: float (N, C).
        study_of: int (N,), 0 to studies - 1; each study has a slice.
        studies: S.

    Returns:
        float64 (S, C), rows sum to 1.
    """
    logs = np.zeros((studies, probabilities.shape[1]))
    np.add.at(logs, study_of, np.log(np.clip(probabilities, _SMALLEST, 1.0)))
    logs /= np.bincount(study_of, minlength=studies)[:, None]
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def answer_study(
    probabilities: NDArray[np.floating],
    decisions: Sequence[Decision],
    classes: Sequence[str],
    rules: Rules,
) -> StudyAnswer:
    """Say what the slices of one study say together.

    Slices that are no kidney CT do not count, unless all are: then neither is the study.

    Args:
        probabilities: float (N, C), one row a slice, N at least 1.
        decisions: N, of the same slices.
        classes: C names.
        rules: of the model.
    """
    counted = [at for at, one in enumerate(decisions) if one.outcome != NOT_A_KIDNEY_CT]
    foreign = not counted
    counted = counted or list(range(len(decisions)))
    (pooled,) = pool(probabilities[counted], np.zeros(len(counted), dtype=np.int64), 1)
    # Whatever is above the threshold: the scores of slices have been judged one by one.
    decision = decide(pooled, classes, rules, np.nan if foreign else None)
    outcomes = Counter(one.outcome for one in decisions)
    return StudyAnswer(
        probabilities=pooled,
        decision=decision,
        decisive=tuple(counted[at] for at in _decisive(probabilities[counted], pooled)),
        counts={name: outcomes[name] for name in (*classes, NEEDS_REVIEW, NOT_A_KIDNEY_CT)},
        suspected={
            name: sum(name in decisions[at].suspected for at in counted)
            for name in findings(classes)
        },
    )


def _decisive(
    probabilities: NDArray[np.floating], pooled: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return the rows that lift the most probable class above the second one, the strongest first.

    log(pooled[first] / pooled[second]) is the mean over slices of log(p[first] / p[second]), so
    each slice's part in the answer is exact, and those with a negative part speak against it.
    """
    first, second = np.argsort(-pooled, kind="stable")[:2]
    logs = np.log(np.clip(probabilities, _SMALLEST, 1.0))
    parts = logs[:, first] - logs[:, second]
    order = np.argsort(-parts, kind="stable")[:MOST_DECISIVE]
    return np.asarray(order[parts[order] >= 0])
