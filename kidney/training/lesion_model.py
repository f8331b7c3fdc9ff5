"""A trained lesion network and its cross-validation -> a calibrated model with its rules."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from kidney.evaluation.metrics.calibration import balanced_weights, fit_temperature
from kidney.evaluation.metrics.classification import group_weights
from kidney.evaluation.metrics.decisions import fit_rules
from kidney.evaluation.predictions import predictions_of
from kidney.imaging.appearance import ENHANCED_FROM, PLANES, appearance, baseline
from kidney.models.checkpoint import Checkpoint, DataLineage, LesionHparams, Lineage, SplitLineage
from kidney.models.lesion_classifier import LesionClassifier
from kidney.tracking.runs import code_version
from kidney.training.lesion_predictions import LesionPredictions
from kidney.training.lesion_run import (
    CrossValidated,
    LesionData,
    LesionSpec,
    class_labels,
    findings_calibration,
    fit_heads,
)
from kidney.training.lesion_series import WholeSeries, fit_series_rules
from kidney.training.spec import digest

SPLIT = "by_patient"  # what the folds of lesion models are called
_ALL = -1  # the fold of a model that no patient was kept from


def lesion_lineage(spec: LesionSpec, data: LesionData, own: LesionPredictions) -> Lineage:
    """Return what a lesion model comes from.

    Args:
        spec: the training.
        data: see `open_data`.
        own: predictions for the slices that heads are fitted to; their looks are the baseline.
    """
    records = [record for store in data.stores for record in store.records]
    return Lineage(
        DataLineage(
            name="lesions",
            source=", ".join(source.name for source in data.sources),
            fingerprint=digest([store.name for store in data.stores]),
            slices=len(records),
            scans=len({record.patient for record in records}),
        ),
        SplitLineage(
            name=SPLIT,
            fingerprint=digest([dict(sorted(folds.items())) for folds in data.dataset.fold_of]),
            fold=_ALL,
            validation_folds=list(range(spec.folds)),
            folds=spec.folds,
        ),
        baseline=baseline(own.thumbnails, [tuple(shape) for shape in own.shapes.tolist()]),
        weights=spec.weights_identity,
        code=code_version(),
    )


def finish(
    spec: LesionSpec,
    classifier: LesionClassifier,
    own: LesionPredictions,
    tested: CrossValidated,
    lineage: Lineage,
    run: str,
    series: Sequence[WholeSeries],
    series_sensitivity: float,
    decisions: Mapping[str, float],
) -> Checkpoint:
    """Fit heads, temperature, findings and rules, and return the model.

    Args:
        spec: the training.
        classifier: trained on all patients.
        own: its predictions for the slices that heads are fitted to.
        tested: predictions of the folds; what is calibrated rests on them alone.
        lineage: of the model.
        run: id of the tracking run.
        series: whole series among the tested predictions.
        series_sensitivity: of each finding on them.
        decisions: targets of `fit_rules`.
    """
    fit_heads(classifier, own)
    labels = class_labels(tested.predictions, spec.classes)
    chosen = labels >= 0
    patients = tested.predictions.patients[chosen]
    logits, labels = tested.logits[chosen], labels[chosen]
    # The head divided the class prior out: its logits are those of equally frequent classes.
    weights = balanced_weights(labels, group_weights(patients))
    temperature = fit_temperature(logits, labels, weights)
    classifier.temperature.fill_(temperature)
    classifier.calibration.copy_(torch.from_numpy(findings_calibration(tested.predictions)))
    rules = fit_rules(
        labels, softmax(logits / temperature, axis=1), patients, tested.ood_scores[chosen],
        list(spec.classes), **decisions,
    )  # fmt: skip
    thresholds = fit_series_rules(series, shown_of(classifier, tested), series_sensitivity)
    rules = replace(rules, series_from={name: one.threshold for name, one in thresholds.items()})
    hparams = LesionHparams(
        backbone=spec.backbone,
        weights=spec.weights,
        image_size=spec.image_size,
        decoder_width=spec.decoder_width,
        classes=list(spec.classes),
    )
    return Checkpoint(classifier.eval(), hparams, replace(lineage, run=run), rules)


def shown_of(classifier: LesionClassifier, tested: CrossValidated) -> NDArray[np.float64]:
    """Return the calibrated probability of each finding on all tested slices, float (N, 3)."""
    with torch.inference_mode():
        shown = classifier.findings(torch.from_numpy(tested.predictions.values))
    found: NDArray[np.float64] = shown.double().numpy()
    return found


def probabilities_of(model: Checkpoint, tested: CrossValidated) -> NDArray[np.float64]:
    """Return the calibrated class probabilities of all tested slices, float (N, K)."""
    probabilities: NDArray[np.float64] = softmax(
        tested.logits / float(model.model.temperature), axis=1
    )
    return probabilities


def table_of(model: Checkpoint, tested: CrossValidated) -> pd.DataFrame:
    """Return predictions.csv of the tested slices with a class label."""
    labels = class_labels(tested.predictions, model.hparams.classes)
    chosen = np.flatnonzero(labels >= 0)
    predictions = tested.predictions.of(chosen)
    looks = appearance(predictions.thumbnails)
    slices = pd.DataFrame(
        {
            "path": [f"{one.source}/{one.path}" for one in predictions.records],
            "frame": 0,
            "label": [one.label for one in predictions.records],
            "scan": predictions.patients.tolist(),
            "patient": predictions.patients.tolist(),
            "phase": np.where(looks["enhancement"] >= ENHANCED_FROM, "enhanced", "plain"),
            "plane": [PLANES[int(number)] for number in looks["plane"]],
            "width": predictions.shapes[:, 1],
            "height": predictions.shapes[:, 0],
        }
    )
    return predictions_of(
        slices, list(model.hparams.classes), probabilities_of(model, tested)[chosen],
        tested.logits[chosen], model.rules, tested.ood_scores[chosen],
    )  # fmt: skip
