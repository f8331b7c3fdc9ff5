"""Predictions of models that are as good, and as well calibrated, as a test wants them."""

from typing import Any

import numpy as np
import pandas as pd

from kidney.evaluation.evaluation_record import EvaluationRecord
from kidney.evaluation.result import EvaluationResult, Figure, RiskCoverage

CLASSES = ("normal", "cyst", "tumor", "stone")
SPLIT = {"name": "by_patient", "fingerprint": "s1", "fold": "all", "folds": 5, "part": "test"}


def evidence(
    skill: float = 1.0,
    sharpness: float = 1.0,
    patients: int = 24,
    slices: int = 2,
    seed: int = 0,
    **split: Any,
) -> EvaluationRecord:
    """Return what a model says of slices that every model here is asked about.

    Its logits are `skill` for the true class and noise; probabilities are as certain as they should
    be at `sharpness` 1, and too certain above.

    Args:
        skill: how far the true class stands out, in standard deviations of the noise.
        sharpness: 1 is calibrated.
        patients: how many.
        slices: of each.
        seed: of the noise, which is that of the patient and of the slice, half and half.
        split: what differs from a split by patient, all folds pooled.
    """
    labels = np.repeat(np.arange(patients) % 4, slices)
    generator = np.random.default_rng(seed)
    noise = np.repeat(generator.normal(size=(patients, 4)), slices, axis=0)
    noise = (noise + generator.normal(size=noise.shape)) / np.sqrt(2)
    # With unit normal noise the posterior of class k is the softmax of skill times its score.
    scores = noise + skill * np.eye(4)[labels]
    logits = sharpness * skill * scores
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    said = pd.DataFrame(probabilities, columns=list(CLASSES))
    names = [f"p{number:02d}" for number in range(patients)]
    said["path"] = [f"{name}/{row}.jpg" for name in names for row in range(slices)]
    said["frame"] = 0
    said["label"] = [CLASSES[label] for label in labels]
    said["patient"] = np.repeat(names, slices)
    said["fold"] = np.repeat(np.arange(patients) % 5, slices)
    return EvaluationRecord(said, result_of(len(said), patients, {**SPLIT, **split}))


def result_of(slices: int, patients: int, split: dict[str, Any]) -> EvaluationResult:
    """Return a result without figures: a promotion reads none but macro_auroc."""
    return EvaluationResult.model_validate(
        {
            "model": {"backbone": "tiny", "run": "tiny-run"},
            "data": {"name": "none", "fingerprint": "0"},
            "split": split,
            "classes": CLASSES,
            **{"slices": slices, "scans": patients, "patients": patients},
            **{name: {} for name in ("figures", "scan_figures", "curves", "groups")},
            **{name: [] for name in ("confusion", "scan_confusion", "reliability", "scans_ranked")},
            "ece_by_chance": Figure(value=None),
            "risk_coverage": RiskCoverage(coverage=[], risk=[]),
        }
    )
