"""Predictions of a model that is calibrated by construction, and the result of evaluating them."""

from collections.abc import Sequence
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd

from kidney.evaluation.evaluate import evaluate
from kidney.evaluation.metrics.bootstrap import patient_intervals
from kidney.evaluation.result import EvaluationResult

CLASSES = ("normal", "cyst", "tumor", "kidney_stone")


def predictions_of(
    scans: int = 40, slices: int = 3, classes: Sequence[str] = CLASSES
) -> pd.DataFrame:
    """A table of predictions: each scan's label is drawn from the probabilities of its slices."""
    generator = np.random.default_rng(4)
    chances = generator.dirichlet(np.full(len(classes), 0.5), scans)
    rows = []
    for scan, chance in enumerate(chances):
        label = generator.choice(classes, p=chance)
        for frame in range(slices):
            shares = (chance + 0.02) * generator.uniform(0.5, 1.5, len(classes))
            shares = shares / shares.sum()
            best = classes[shares.argmax()]
            side = 256 if scan % 3 else 512
            rows.append(
                {
                    "path": f"folder/{scan}-{frame}.png", "frame": 0, "label": label,
                    "scan": f"scan-{scan:02}", "patient": f"patient-{scan // 2:02}",
                    "phase": "plain" if scan % 2 else "enhanced", "plane": "axial",
                    "width": side, "height": side,
                    **dict(zip(classes, shares, strict=True)),
                    "decision": best if shares.max() >= 0.5 else "needs_review",
                    "set": " ".join(
                        name for name, share in zip(classes, shares, strict=True)
                        if share >= 0.15 or name == best
                    ),
                    "suspected": " ".join(
                        name for name, share in zip(classes, shares, strict=True)
                        if name != "normal" and share >= 0.1
                    ),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def result_of(
    predictions: pd.DataFrame, split: str = "by_patient", **more: Any
) -> EvaluationResult:
    """The result of these predictions, with fewer resamples than usual."""
    about = {
        "model": {"backbone": "resnet10t", "run": "run-17", "code": "0a1b2c", "checkpoint": "ff00"},
        "data": {"name": "phantom", "source": "here", "fingerprint": "f1",
                 "slices": len(predictions), "scans": int(predictions["scan"].nunique())},
        "split": {"name": split, "fold": 2, "folds": 5, "part": "test",
                  "validation_folds": [3, 4]},
        **more,
    }  # fmt: skip
    few = partial(patient_intervals, repeats=30)
    with patch("kidney.evaluation.evaluate.patient_intervals", few):
        return evaluate(predictions, CLASSES, **about)
