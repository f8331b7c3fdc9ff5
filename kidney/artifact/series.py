"""What a whole series says: findings on runs of neighbouring slices, and when it may be normal.

A finding shows on some slices of a series. Averaged over all slices it vanishes, so each finding
has a score of its own: the highest mean of its probability over three neighbouring slices. Slices
above and below the kidneys, which are refused as no kidney CT, do not count.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kidney.artifact.decision import (
    NEEDS_REVIEW,
    NORMAL,
    NOT_A_KIDNEY_CT,
    Decision,
    Rules,
    decide,
    findings,
)

MOST_DECISIVE = 8  # slices that a reader is sent to
NEIGHBOURS = 3  # slices of which the score of a finding is the mean
_SMALLEST = 1e-12  # a probability of 0 would veto its class for the whole scan


@dataclass(frozen=True)
class SeriesFinding:
    """One finding on a series.

    Attributes:
        name: the finding.
        score: see `finding_score`, 0 to 1.
        threshold: a score equal to it reaches it.
        suspected: whether the finding cannot be excluded: the score reaches the threshold; where it
            comes from class probabilities, also if two neighbouring slices suspect it.
        first, last: places of the first and the last slice of the run that gave the score, in the
            order given; None where the order is not known.
        slices: places of the slices that gave the score, the highest probability first; where the
            finding is suspected on some of them, only these.
    """

    name: str
    score: float
    threshold: float
    suspected: bool
    first: int | None
    last: int | None
    slices: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class SeriesResult:
    """What a series says.

    Attributes:
        outcome: a finding that stands on a run of slices while no other is suspected; "normal"
            where that stands; "not_a_kidney_ct" where no slice counts; else "needs_review".
        label: the finding that stands, else the class with the highest pooled probability.
        probabilities: float64 (C,), of the slices that count, pooled; see `pool`.
        findings: all findings: the suspected ones first, by `urgency`.
        decisive: places of the slices to look at first: those of the suspected findings, or those
            that speak most for the label; the most telling first.
        counts: outcome -> how many slices have it; every class, "needs_review" and
            "not_a_kidney_ct" are there.
        suspected: finding -> on how many slices it cannot be excluded.
        unfamiliar_within: slices that were refused although they lie between slices that were
            accepted, and so probably show kidney; 0 where the order is not known.
    """

    outcome: str
    label: str
    probabilities: NDArray[np.float64]
    findings: tuple[SeriesFinding, ...]
    decisive: tuple[int, ...]
    counts: dict[str, int]
    suspected: dict[str, int]
    unfamiliar_within: int


def pool(
    probabilities: NDArray[np.floating], series_of: NDArray[np.integer], count: int
) -> NDArray[np.float64]:
    """Return the softmax of the mean over slices of log probability, for each series.

    That is the normalised geometric mean (a logarithmic opinion pool, Genest and Zidek 1986). The
    mean and not the sum, since near copies do not add up as independent evidence would.

    Args:
        probabilities: float (N, C).
        series_of: int (N,), 0 to count - 1; each series has a slice.
        count: S.

    Returns:
        float64 (S, C), rows sum to 1.
    """
    logs = np.zeros((count, probabilities.shape[1]))
    np.add.at(logs, series_of, np.log(np.clip(probabilities, _SMALLEST, 1.0)))
    logs /= np.bincount(series_of, minlength=count)[:, None]
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def finding_score(
    probability: NDArray[np.floating], in_order: bool
) -> tuple[float, NDArray[np.int64]]:
    """Return how strongly a finding shows where it shows most, and on which slices.

    The highest mean over NEIGHBOURS neighbouring slices, where the order is known: a lesion spans
    neighbours, noise does not. Else the mean of the NEIGHBOURS highest slices, which is that or
    more. A shorter series is one window.

    Args:
        probability: float (N,), of the finding on the slices that count, N at least 1.
        in_order: whether these are in anatomical order, up or down.

    Returns:
        The score, 0 to 1, and the indices of the slices that it is the mean of.
    """
    width = min(NEIGHBOURS, len(probability))
    if in_order:
        sums = np.concatenate([[0.0], np.cumsum(probability, dtype=np.float64)])
        means = (sums[width:] - sums[:-width]) / width
        best = int(means.argmax())
        chosen = np.arange(best, best + width)
    else:
        chosen = np.argsort(-probability, kind="stable")[:width]
    return float(np.mean(probability[chosen], dtype=np.float64)), chosen.astype(np.int64)


def urgency(found: SeriesFinding) -> tuple[bool, float]:
    """Return the key that sorts suspected findings: a tumour first, it is the one not to miss.

    Behind it the one that is furthest above its threshold.
    """
    return found.name != "tumor", found.threshold - found.score


def read_series(
    probabilities: NDArray[np.floating],
    decisions: Sequence[Decision],
    classes: Sequence[str],
    rules: Rules,
    *,
    in_order: bool,
    shown: NDArray[np.floating] | None = None,
) -> SeriesResult:
    """Say what the slices of one series say together.

    A series is never normal while a finding cannot be excluded on a run of two slices or by its
    score, nor while slices between accepted ones were refused, nor while a refused slice is
    suspected. Refused slices that nothing is suspected on do not count.

    The probability of a class competes with those of the other classes, so that of a tumour is low
    where a cyst shows as well. A model with an output of its own for each finding gives `shown`.

    Args:
        probabilities: float (N, C), one row a slice, N at least 1.
        decisions: N, of the same slices.
        classes: C names.
        rules: of the model.
        in_order: whether the slices are in anatomical order, up or down. Names of files do not tell
            it: False for pictures.
        shown: float (N, F), that a slice shows each of `findings(classes)`, whatever else it shows;
            None: the class probabilities.
    """
    counted = [at for at, one in enumerate(decisions) if one.outcome != NOT_A_KIDNEY_CT]
    foreign = not counted
    places = np.array(counted or range(len(decisions)), dtype=np.int64)
    rows, own = probabilities[places], [decisions[at] for at in places]
    (pooled,) = pool(rows, np.zeros(len(rows), dtype=np.int64), 1)
    names = findings(classes)
    apart = shown is not None
    if shown is None:
        shown = probabilities[:, [classes.index(name) for name in names]]
    found = tuple(
        _finding(name, shown[places, column], own, places, rules, in_order, apart)
        for column, name in enumerate(names)
    )
    accepted = [at for at, one in enumerate(decisions) if not one.unfamiliar]
    within = 0
    if in_order and accepted:
        within = sum(one.unfamiliar for one in decisions[accepted[0] : accepted[-1]])
    outcome = NOT_A_KIDNEY_CT
    if not foreign:
        outcome = _outcome(found, own, classes, rules, pooled, in_order, within)
    label = outcome if outcome in classes else classes[int(pooled.argmax())]
    outcomes = Counter(one.outcome for one in decisions)
    suspected = [] if foreign else [one for one in found if one.suspected]
    return SeriesResult(
        outcome=outcome,
        label=label,
        probabilities=pooled,
        findings=tuple(sorted(found, key=lambda one: (not one.suspected, *urgency(one)))),
        decisive=_decisive(rows, pooled, places, suspected),
        counts={name: outcomes[name] for name in (*classes, NEEDS_REVIEW, NOT_A_KIDNEY_CT)},
        suspected={name: sum(name in one.suspected for one in own) for name in names},
        unfamiliar_within=within,
    )


def _finding(
    name: str,
    probability: NDArray[np.floating],
    decisions: Sequence[Decision],
    places: NDArray[np.int64],
    rules: Rules,
    in_order: bool,
    apart: bool,
) -> SeriesFinding:
    threshold = rules.series_from.get(name, rules.suspect_from[name])
    score, chosen = finding_score(probability, in_order)
    on = np.array([name in one.suspected for one in decisions])
    if apart:
        on = probability >= threshold
    reaches = score >= threshold or (not apart and _longest(on, in_order) >= 2)
    # The run goes on as long as the slices beside it are suspected, too.
    first, last = int(chosen.min()), int(chosen.max())
    while in_order and first > 0 and on[first - 1]:
        first -= 1
    while in_order and last + 1 < len(on) and on[last + 1]:
        last += 1
    strongest = chosen[np.argsort(-probability[chosen], kind="stable")]
    if on[strongest].any():
        strongest = strongest[on[strongest]]
    return SeriesFinding(
        name=name,
        score=score,
        threshold=threshold,
        suspected=reaches,
        first=int(places[first]) if in_order else None,
        last=int(places[last]) if in_order else None,
        slices=tuple(places[strongest].tolist()),
    )


def _outcome(
    found: Sequence[SeriesFinding],
    decisions: Sequence[Decision],
    classes: Sequence[str],
    rules: Rules,
    pooled: NDArray[np.float64],
    in_order: bool,
    within: int,
) -> str:
    suspected = {one.name for one in found if one.suspected}
    for name in findings(classes):
        stands = np.array([one.outcome == name for one in decisions])
        enough = _longest(stands, in_order) >= min(2, len(decisions))
        if enough and suspected <= {name}:
            return name
    unsure = any(one.unfamiliar for one in decisions)  # refused, and yet suspected
    runs = any(
        _longest(np.array([name in one.suspected for one in decisions]), in_order) >= 2
        for name in findings(classes)
    )
    normal = decide(pooled, classes, rules).outcome == NORMAL
    return NORMAL if normal and not (suspected or unsure or runs or within) else NEEDS_REVIEW


def _longest(on: NDArray[np.bool_], in_order: bool) -> int:
    """Return how many neighbouring slices are marked at most; without an order, how many are."""
    if not in_order:
        return int(on.sum())
    ends = np.flatnonzero(np.diff(np.concatenate([[0], on.astype(np.int8), [0]])))
    return max((stop - start for start, stop in zip(ends[::2], ends[1::2], strict=True)), default=0)


def _decisive(
    rows: NDArray[np.floating],
    pooled: NDArray[np.float64],
    places: NDArray[np.int64],
    suspected: Sequence[SeriesFinding],
) -> tuple[int, ...]:
    """Return the slices to look at first.

    Of suspected findings those of their scores, by `urgency`.
    Else those that lift the most probable class above the second one: log(pooled[first] /
    pooled[second]) is the mean over slices of log(p[first] / p[second]), so each slice's part is
    exact, and those with a negative part speak against it.
    """
    if suspected:
        strongest = sorted(suspected, key=urgency)
        found = dict.fromkeys(at for one in strongest for at in one.slices)
        return tuple(found)[:MOST_DECISIVE]
    first, second = np.argsort(-pooled, kind="stable")[:2]
    logs = np.log(np.clip(rows, _SMALLEST, 1.0))
    parts = logs[:, first] - logs[:, second]
    order = np.argsort(-parts, kind="stable")[:MOST_DECISIVE]
    return tuple(places[order[parts[order] >= 0]].tolist())
