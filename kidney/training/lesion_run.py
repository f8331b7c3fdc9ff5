"""The whole training of a lesion model: cut-outs, bank, folds, final network, heads.

Folds by patient come first: each gives predictions for patients that neither its network nor its
head has seen, and from these come temperature, findings and rules. The network that is served is
then trained on all patients, with a head on its own embeddings. A run that was stopped goes on.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from joblib import Parallel, delayed  # type: ignore[import-untyped]
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from kidney.data.lesions.dataset import LesionDataset
from kidney.data.lesions.records import Source, available
from kidney.data.lesions.store import SliceStore, open_store
from kidney.errors import ConfigError
from kidney.files import whole_file, write_text
from kidney.models.lesion_classifier import LESIONS, LesionClassifier, kidney_presence
from kidney.training.lesion_bank import bank_name, fill_bank, open_bank
from kidney.training.lesion_predictions import (
    CUT_OUT,
    LesionPredictions,
    concatenate,
    load_predictions,
    predict_sources,
    save_predictions,
    spread,
)
from kidney.training.lesions import LesionSettings, fit_lesions
from kidney.training.slice_heads import fit_class_head, fit_findings

NETWORK, PREDICTIONS, SETTINGS = "network.safetensors", "predictions.npz", "settings.json"
_SLICES_PER_PATIENT = 12  # that heads are fitted on: of neighbours little is new


@dataclass(frozen=True)
class LesionSpec:
    """A training of a lesion model.

    Attributes:
        folder: holds the files of the sources.
        sources: the sets; see conf/sources.
        cache: for cut-outs and banks, which several trainings share.
        run: folder of the networks and predictions of this training.
        backbone, weights, image_size, decoder_width, classes: of LesionClassifier.
        weights_identity: of the pretrained weights.
        slices: of the bank.
        folds: by patient.
        processes: that fill the bank and train the folds, of one torch thread each.
        training: of the networks.
        without: sources that are left out of training and only predicted.
        seed: of the bank.
    """

    folder: Path
    sources: Sequence[Source]
    cache: Path
    run: Path
    backbone: str
    weights: str
    weights_identity: str
    image_size: int
    decoder_width: int
    classes: Sequence[str]
    slices: int
    folds: int
    processes: int
    training: LesionSettings = field(default_factory=LesionSettings)
    without: Sequence[str] = ()
    seed: int = 0

    def classifier(self) -> LesionClassifier:
        """Return a classifier with pretrained weights and nothing trained."""
        return LesionClassifier(
            self.backbone, self.weights, self.image_size, self.decoder_width, self.classes
        ).eval()


@dataclass(frozen=True, eq=False)
class LesionData:
    """What networks are trained on; `bank` are the paths of its shards."""

    sources: Sequence[Source]
    stores: Sequence[SliceStore]
    dataset: LesionDataset
    bank: Sequence[Path]


class CrossValidated(NamedTuple):
    """Predictions by networks and heads that have not seen the patient.

    Attributes:
        predictions: of all N slices of all patients that are in folds.
        logits: float64 (N, K).
        ood_scores: float64 (N,).
    """

    predictions: LesionPredictions
    logits: NDArray[np.float64]
    ood_scores: NDArray[np.float64]


def open_data(spec: LesionSpec) -> LesionData:
    """Open the sources, cut out all slices and fill the bank, where that was not done yet.

    Raises:
        ConfigError: `without` names no source.
        DataError: a source is missing or broken.
    """
    sources = available(spec.sources, spec.folder)
    if unknown := set(spec.without) - {source.name for source in sources}:
        raise ConfigError(
            f"Expected `without` to name sources, but there is no {', '.join(sorted(unknown))}.",
            f"There are {', '.join(source.name for source in sources)}.",
        )
    stores = [
        open_store(source, spec.folder, spec.cache, CUT_OUT, spec.image_size) for source in sources
    ]
    dataset = LesionDataset(stores, spec.image_size, spec.folds)
    name = bank_name(dataset, [store.name for store in stores], spec.weights_identity, spec.seed)
    bank = fill_bank(
        dataset, spec.classifier().net.encoder, spec.cache / name, spec.slices, spec.seed,
        spec.processes,
    )  # fmt: skip
    return LesionData(sources, stores, dataset, bank)


def train_network(spec: LesionSpec, data: LesionData, fold: int | None) -> LesionClassifier:
    """Train a network without the patients of a fold, or take it where it was trained.

    Args:
        spec: the training.
        data: see `open_data`.
        fold: None: on all patients.

    Returns:
        The classifier, whose heads are not fitted yet.

    Raises:
        ConfigError: the folder holds networks of other settings.
    """
    folder = spec.run / ("all" if fold is None else f"fold-{fold}")
    _keep_settings(spec)
    classifier = spec.classifier()
    path = folder / NETWORK
    if path.is_file():
        classifier.net.load_state_dict(load_file(path))
        return classifier.eval()
    torch.set_num_threads(1)
    without = sum(1 << at for at, one in enumerate(data.sources) if one.name in spec.without)
    fit_lesions(classifier.net, open_bank(data.bank, fold, without), spec.training, folder)
    state = {name: value.contiguous() for name, value in classifier.net.state_dict().items()}
    with whole_file(path) as temporary:
        save_file(state, temporary)
    return classifier.eval()


def _keep_settings(spec: LesionSpec) -> None:
    """Write what the networks of a run depend on, or hold it against what is written."""
    wanted = {
        "training": asdict(spec.training), "backbone": spec.backbone, "slices": spec.slices,
        "weights": spec.weights_identity, "image_size": spec.image_size, "folds": spec.folds,
        "decoder_width": spec.decoder_width, "without": sorted(spec.without), "seed": spec.seed,
        "sources": [[source.name, dict(source.pools)] for source in spec.sources],
    }  # fmt: skip
    text = json.dumps(wanted, indent=1, sort_keys=True) + "\n"
    path = spec.run / SETTINGS
    if not path.is_file():
        write_text(path, text)
    elif path.read_text(encoding="utf-8") != text:
        raise ConfigError(
            f"Expected {spec.run} to be a training with these settings, but it has others, see "
            f"{path}.",
            "Name another run (name=...), or delete the folder.",
        )


def predict_fold(
    spec: LesionSpec, data: LesionData, classifier: LesionClassifier, fold: int | None
) -> LesionPredictions:
    """Predict what a network is tested on, and labelled slices to fit heads to.

    Args:
        spec: the training.
        data: see `open_data`.
        classifier: of the fold.
        fold: all slices of its patients are predicted; None: those of sources left out.
    """
    path = spec.run / ("all" if fold is None else f"fold-{fold}") / PREDICTIONS
    if path.is_file():
        return load_predictions(path)
    wanted: set[tuple[str, str]] = set()
    patients: set[str] = set()
    for store, fold_of in zip(data.stores, data.dataset.fold_of, strict=True):
        rows_of: dict[str, list[int]] = defaultdict(list)
        for row, record in enumerate(store.records):
            rows_of[record.patient].append(row)
        for patient, rows in rows_of.items():
            tested = fold is not None and fold_of.get(patient) == fold
            if not (tested or store.source.name in spec.without):
                usable = [row for row in rows if store.records[row].label or fold is None]
                usable = usable if store.source.in_folds else []
                rows = [usable[at] for at in spread(len(usable), _SLICES_PER_PATIENT)]
            wanted |= {(store.source.name, store.records[row].path) for row in rows}
            patients |= {patient} if rows else set()
    predictions = predict_sources(
        classifier, data.sources, spec.folder, spec.cache, frozenset(wanted), frozenset(patients)
    )
    save_predictions(predictions, path)
    return predictions


def cross_validate_lesions(spec: LesionSpec, data: LesionData) -> CrossValidated:
    """Train and test a network and a head for each fold, several at once.

    The final network trains beside them: it needs nothing of theirs, and a core would be idle.
    """
    Parallel(spec.processes)(
        delayed(_train_and_predict)(spec, data, fold) for fold in [*range(spec.folds), None]
    )
    tested, logits, scores = [], [], []
    for fold in range(spec.folds):
        classifier = train_network(spec, data, fold)
        predictions = predict_fold(spec, data, classifier, fold)
        out = _tested(predictions, data, fold)
        fit_heads(classifier, predictions.of(~out))
        tested.append(predictions.of(out))
        embeddings = torch.from_numpy(tested[-1].embeddings)
        with torch.inference_mode():
            kidney = torch.from_numpy(tested[-1].kidney).float()
            presence = kidney_presence(kidney, classifier.presence)
            logits.append(
                (presence[:, None] * classifier.forward_head(embeddings)).double().numpy()
            )
            scores.append(classifier.ood(embeddings).double().numpy())
    return CrossValidated(concatenate(tested), np.concatenate(logits), np.concatenate(scores))


def _train_and_predict(spec: LesionSpec, data: LesionData, fold: int | None) -> None:
    predict_fold(spec, data, train_network(spec, data, fold), fold)


def fit_heads(classifier: LesionClassifier, predictions: LesionPredictions) -> None:
    """Set class head and out-of-distribution score from predictions of the classifier itself."""
    labels = class_labels(predictions, classifier.classes)
    labelled = predictions.of(labels >= 0)
    head = fit_class_head(
        labelled.embeddings, labels[labels >= 0], labelled.patients, classifier.blocks,
        classifier.classes,
    )  # fmt: skip
    classifier.set_head(head.weight, head.bias)
    classifier.ood.fit(predictions.embeddings, predictions.patients.tolist())


def class_labels(predictions: LesionPredictions, classes: Sequence[str]) -> NDArray[np.int64]:
    """Return the class index of each slice, (N,); -1 where it has no label among the classes."""
    index = {name: number for number, name in enumerate(classes)}
    return np.array([index.get(record.label, -1) for record in predictions.records], np.int64)


def findings_calibration(predictions: LesionPredictions) -> NDArray[np.float64]:
    """Return the calibration (3, 2) of the findings, of slices that networks have not seen."""
    assert predictions.values.shape[1] == len(LESIONS)
    return fit_findings(predictions.values, predictions.truth(), predictions.patients)


def _tested(predictions: LesionPredictions, data: LesionData, fold: int) -> NDArray[np.bool_]:
    """Return which predictions are of patients of the fold, bool (N,)."""
    fold_of = {patient: own for folds in data.dataset.fold_of for patient, own in folds.items()}
    return np.array([fold_of.get(record.patient) == fold for record in predictions.records])
