"""Predictions of a classifier and what is fitted to them: temperature, OOD score, rules."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from tqdm import tqdm

from kidney.artifact.decision import Rules
from kidney.data.datamodule import KidneyDataModule
from kidney.data.ood_sets import read_ood_set, synthetic_ood_sets
from kidney.evaluation.metrics.bootstrap import Interval
from kidney.evaluation.metrics.calibration import (
    adjusted_bias,
    balanced_weights,
    class_prior,
    fit_temperature,
)
from kidney.evaluation.metrics.classification import group_weights, labels_of, macro_auroc
from kidney.evaluation.metrics.decisions import fit_rules
from kidney.evaluation.metrics.ood import Scored, ood_figures
from kidney.evaluation.predictions import predictions_of
from kidney.models.checkpoint import Checkpoint, Lineage
from kidney.models.classifier import KidneyClassifier
from kidney.models.task import embed_batch
from kidney.training.spec import TrainingSpec

SLICES_PER_SCAN = 8  # of neighbours little is new: all 40 of them moved no AUROC by 0.01

Slice = NDArray[np.uint8]
Batches = DataLoader[dict[str, torch.Tensor]]


class Outputs(NamedTuple):
    """What all decisions about N slices are made of."""

    logits: NDArray[np.float32]  # (N, K)
    ood_scores: NDArray[np.float32]  # (N,), NaN where that is not fitted


class Calibration(NamedTuple):
    """What is known of a model before it meets its test part."""

    rules: Rules
    predictions: pd.DataFrame  # a row a validation slice, as predictions.csv has it
    macro_auroc: float  # of these slices; hyperparameters are chosen by it


def calibrate(
    spec: TrainingSpec,
    model: KidneyClassifier,
    ensemble: Mapping[int, KidneyClassifier],
    lineage: Lineage,
) -> Calibration:
    """Set prior, temperature and OOD score of a model, and fit its decision rules.

    The class prior of the training part is divided out of the probabilities: see `adjusted_bias`.

    Args:
        spec: the training; `decisions` holds the targets of the rules.
        model: its temperature, the bias of its head and its OOD score are set.
        ensemble: validation fold -> the fit that was trained without it.
    """
    tables, outputs = [], []
    for fold, fitted in ensemble.items():
        data = spec.datamodule_with_features(fold, lineage)
        fit_ood(fitted, data, data.rows("train"))
        tables.append(data.slices.iloc[data.rows("val")])
        outputs.append(predict(fitted, data.val_dataloader()))
    parts = ("train", "val") if len(ensemble) > 1 else ("train",)
    fit_ood(model, data, data.rows(*parts))
    slices = pd.concat(tables)
    logits = np.concatenate([output.logits for output in outputs])
    scores = np.concatenate([output.ood_scores for output in outputs])
    classes = list(spec.hparams.classes)
    labels = labels_of(slices, classes)
    # Patients and not scans, since a new scan is that of a new patient.
    patients = slices["patient"].to_numpy().astype(np.str_)
    weights = group_weights(patients)
    trained = data.slices.iloc[data.rows(*parts)]
    prior = class_prior(
        labels_of(trained, classes),
        group_weights(trained["scan"].to_numpy().astype(np.str_)),  # as the sampler draws them
        len(classes),
    )
    temperature = fit_temperature(logits, labels, balanced_weights(labels, weights), prior)
    shift = adjusted_bias(np.zeros(len(classes)), prior, temperature).astype(np.float32)
    model.head.bias.data += torch.from_numpy(shift).to(model.head.bias.device)
    model.temperature.fill_(temperature)
    logits = logits + shift
    probabilities = torch.from_numpy(logits / temperature).softmax(dim=1).numpy()
    rules = fit_rules(labels, probabilities, patients, scores, classes, **spec.decisions)
    predictions = predictions_of(slices, classes, probabilities, logits, rules, scores)
    area = macro_auroc(labels, probabilities)
    return Calibration(rules, predictions, 0.0 if np.isnan(area) else area)


def predict(classifier: KidneyClassifier, loader: Batches) -> Outputs:
    """Return logits and out-of-distribution scores in the loader's order.

    Batches carry prepared "images", or "features" that the classifier's own backbone computed.
    """
    device = _device()
    classifier = classifier.eval().to(device)
    logits, scores = [], []
    with torch.inference_mode():
        for batch in tqdm(loader, desc="Predict", unit="batch"):
            embedding = embed_batch(classifier, _to(batch, device))
            logits.append(classifier.forward_head(embedding).cpu().numpy())
            scores.append(classifier.ood(embedding).cpu().numpy())
    return Outputs(np.concatenate(logits), np.concatenate(scores))


def predict_test_part(checkpoint: Checkpoint, data: KidneyDataModule) -> pd.DataFrame:
    """Return predictions and decisions for the test part, as predictions.csv has them.

    Args:
        data: after its setup, with images or with features.
    """
    slices = data.slices.iloc[data.rows("test")]
    output = predict(checkpoint.classifier, data.test_dataloader())
    scaled = torch.from_numpy(output.logits) / checkpoint.classifier.temperature.cpu()
    probabilities = scaled.softmax(dim=1).numpy()
    classes, rules = checkpoint.hparams.classes, checkpoint.rules
    return predictions_of(slices, classes, probabilities, output.logits, rules, output.ood_scores)


def fit_ood(classifier: KidneyClassifier, data: KidneyDataModule, rows: NDArray[np.int64]) -> None:
    """Fit `classifier.ood` to its training slices, of which up to SLICES_PER_SCAN a scan.

    Args:
        classifier: trained; its backbone must not change any more.
        data: after its setup, with images or with features of this backbone.
    """
    scans = data.slices["scan"].to_numpy(str)
    chosen = rows[spread_rows(scans[rows], SLICES_PER_SCAN)]
    device = _device()
    classifier.eval().to(device)
    with torch.inference_mode():
        embeddings = [
            embed_batch(classifier, _to(batch, device)).float().cpu().numpy()
            for batch in DataLoader(data.plain(chosen), data.batch_size)
        ]
    classifier.ood.fit(np.concatenate(embeddings), scans[chosen].tolist())


def spread_rows(scans: NDArray[np.str_], most: int) -> NDArray[np.int64]:
    """Return row numbers in order: of each scan at most `most` rows, evenly spread over it."""
    chosen = []
    for scan in np.unique(scans):
        rows = np.flatnonzero(scans == scan)
        spread = np.linspace(0, len(rows) - 1, min(most, len(rows)))
        chosen.append(rows[np.rint(spread).astype(np.int64)])
    return np.sort(np.concatenate(chosen))


def ood_scores(classifier: KidneyClassifier, slices: Sequence[Slice]) -> NDArray[np.float32]:
    """Return the scores float32 (N,) of slices uint8 (H, W) of any sizes."""
    device = _device()
    classifier.eval().to(device)
    with torch.inference_mode():
        scores = [
            float(classifier(torch.from_numpy(np.array(slice_))[None, None].to(device)).ood_score)
            for slice_ in slices
        ]
    return np.array(scores, dtype=np.float32)


def measure_ood(
    score: Callable[[Sequence[Slice]], NDArray[np.floating]],
    predictions: pd.DataFrame,
    slices: Sequence[Slice],
    above: float,
    ood_sets: Mapping[str, Path],
) -> dict[str, Interval]:
    """Test how well a score tells pictures that are no kidney CT.

    Args:
        score: slices (H, W) -> scores (N,).
        predictions: a row for each slice of kidney CT that nothing was fitted to, with `scan` and
            `ood_score`.
        ood_sets: kind -> folder or archive of such pictures, "photograph" for example.

    Returns:
        What `ood_figures` returns, for noise, flat, inverted, thorax and the kinds of `ood_sets`.
    """
    scans = predictions["scan"].to_numpy(str)
    kinds = synthetic_ood_sets(slices, scans.tolist())
    kinds |= {kind: read_ood_set(path) for kind, path in ood_sets.items()}
    others = {
        kind: Scored(score(found.slices), np.array(found.groups)) for kind, found in kinds.items()
    }
    own = Scored(predictions["ood_score"].to_numpy(np.float64), scans)
    return ood_figures(own, others, above)


def _to(batch: dict[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    return {name: values.to(device) for name, values in batch.items()}


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
