"""A table of predictions with all columns that evaluation reads."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kidney.artifact.decision import Rules, decide, findings
from tests.helpers.simulated_scans import simulated


def said_of(
    labels: np.ndarray,
    probabilities: np.ndarray,
    scans: np.ndarray,
    classes: Sequence[str],
    **columns: object,
) -> pd.DataFrame:
    """Return the table; every scan is a patient of its own, enhanced, axial, 512 x 512."""
    rules = Rules(
        review_below=0.5,
        suspect_from=dict.fromkeys(findings(classes), 0.2),
        set_from=dict.fromkeys(classes, 0.15),
        ood_above=None,
    )
    decisions = [decide(row, classes, rules) for row in probabilities]
    table = {
        "path": [f"slice-{number}.jpg" for number in range(len(labels))],
        "frame": 0,
        "label": [classes[label] for label in labels],
        "scan": scans,
        "patient": scans,
        "phase": "enhanced",
        "plane": "axial",
        "width": 512,
        "height": 512,
        **dict(zip(classes, probabilities.T, strict=True)),
        **{
            f"logit_{name}": values
            for name, values in zip(classes, np.log(probabilities).T, strict=True)
        },
        "ood_score": np.nan,
        "decision": [decision.outcome for decision in decisions],
        "set": [" ".join(decision.prediction_set) for decision in decisions],
        "suspected": [" ".join(decision.suspected) for decision in decisions],
    }
    return pd.DataFrame(table | columns)


def simulated_said(seed: int, scans: int, **columns: object) -> pd.DataFrame:
    """Return a table of simulated scans of normal, cyst and tumor."""
    labels, probabilities, names = simulated(np.random.default_rng(seed), scans)
    return said_of(labels, probabilities, names, ("normal", "cyst", "tumor"), **columns)
