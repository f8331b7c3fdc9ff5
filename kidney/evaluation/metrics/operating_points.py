"""From which probability on a finding is suspected, so that few of its slices are missed."""

import numpy as np
from numpy.typing import NDArray

from kidney.evaluation.metrics.conformal import threshold_that_keeps
from kidney.evaluation.metrics.scan_level import scan_weights

_STEPS = 200  # shares of the validation scans' own slices are tried in steps of 1 / 200


def operating_point(
    probabilities: NDArray[np.floating], scans: NDArray[np.str_], sensitivity: float
) -> float:
    """Return the probability from which a finding is suspected.

    Scans weigh one each: the next patient is a draw of scans, and one long scan must not set the
    threshold for all.

    A threshold read off a few scans so that it finds 90 % of *their* slices finds fewer of the next
    scan's, since it was fitted to them. So the share of the validation scans' own slices that the
    threshold must find is raised, from the stated sensitivity up to all, until the same rule finds
    enough in the scans that were left out, one at a time (the jackknife estimate of the optimism;
    Efron 1983). Where even all is not enough, or there is one scan alone, nothing is known about a
    new scan: the finding is always suspected.

    Measured for 90 %, new scans weighing one each. Simulation, 3 to 40 scans that differ little or
    much: 0.89 to 0.93 on average; the plain quantile 0.78 to 0.90. Nested cross-validation on the
    public set (91 scans, 6 deals): tumour, with 9 or 10 validation scans, 0.93 at specificity 0.33,
    cyst 0.93, stone 0.90; the plain quantile 0.90, 0.91, 0.89. The bound that holds whatever the
    distribution (`set_threshold` on the scans of this class) gave 0.98, 0.95, 0.92, but for tumour
    a specificity of 0.19, and it excludes nothing before there are 9 scans.

    Args:
        probabilities: float (N,), the calibrated probability of the finding on the validation
            slices that have it.
        scans: (N,) the scan of each.
        sensitivity: the share of the finding's slices of a new scan to be suspected, 0 to 1.

    Returns:
        The threshold; a probability equal to it is suspected. 0: always suspected.
    """
    order = np.argsort(-probabilities, kind="stable")
    descending = probabilities[order]
    names, scan_of = np.unique(scans[order], return_inverse=True)
    if len(names) < 2:
        return 0.0
    weights = scan_weights(scans[order])
    levels = np.arange(np.ceil(sensitivity * _STEPS - 1e-9), _STEPS + 1) / _STEPS

    found = np.zeros(len(levels))  # mean sensitivity on scans that were left out, a figure a level
    for scan in range(len(names)):
        out = scan_of == scan
        kept = np.cumsum(weights * ~out)
        for place, level in enumerate(levels):
            threshold = threshold_that_keeps(descending, kept, level * (len(names) - 1))
            found[place] += sensitivity_of(descending[out], threshold) / len(names)
    enough = found >= sensitivity - 1e-9
    if not enough.any():
        return 0.0
    level = levels[enough.argmax()]
    return threshold_that_keeps(descending, np.cumsum(weights), level * len(names))


def sensitivity_of(probabilities: NDArray[np.floating], threshold: float) -> float:
    """Return the share of slices that have the finding and are suspected; NaN without any."""
    return float((probabilities >= threshold).mean()) if len(probabilities) else float("nan")


def specificity_of(probabilities: NDArray[np.floating], threshold: float) -> float:
    """Return the share of slices without the finding that are not suspected; NaN without any."""
    return float((probabilities < threshold).mean()) if len(probabilities) else float("nan")
