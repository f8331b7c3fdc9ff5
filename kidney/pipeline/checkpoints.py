"""Which checkpoint evaluation, localisation and export take, and the data that belong to it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from kidney.data.datamodule import KidneyDataModule
from kidney.data.manifest import fingerprint, read_manifest
from kidney.data.split import check_folds, read_split, split_fingerprint
from kidney.errors import ArtifactError
from kidney.evaluation.evaluate import evaluate
from kidney.evaluation.predictions import predictions_of
from kidney.models.checkpoint import Checkpoint, load_checkpoint
from kidney.models.prepare import prepare
from kidney.pipeline.data_stages import data_folder
from kidney.pipeline.entry import tracking_of, workspace_of
from kidney.tracking.runs import CHECKPOINT, SELECTION_METRIC, best_run, download_checkpoint
from kidney.training.spec import model_of

_SLICES_PER_SCAN = 4  # where not all are needed
_CALIBRATION_SLICES = 64  # on which the ranges of activations are measured

FiguresOf = Callable[[Sequence[Any]], dict[str, Any]]


@dataclass(frozen=True)
class Chosen:
    """A checkpoint and the reason for it."""

    checkpoint: Path
    reason: str


def choose_checkpoint(cfg: DictConfig) -> Chosen:
    """Take `checkpoint`, else the run `run`, else the best run on this data, split and fold.

    The best is by validation macro AUROC. Test figures play no part, so that they stay honest.

    Raises:
        KidneyError: there is no such checkpoint, run, manifest or split.
    """
    if cfg.checkpoint:
        return Chosen(Path(cfg.checkpoint), "it was named (checkpoint=...)")
    tracking = tracking_of(cfg)
    if cfg.run:
        run_id, reason = str(cfg.run), "its run was named (run=...)"
    else:
        slices = read_manifest(data_folder(cfg))
        split = read_split(data_folder(cfg), cfg.split.name, slices)
        fold, validation_fold = int(cfg.split.fold), cfg.split.validation_fold
        check_folds(split, fold, validation_fold)
        found = best_run(
            tracking, fingerprint(slices), split_fingerprint(split), fold, validation_fold
        )
        run_id = found.info.run_id
        reason = (
            f"best validation macro AUROC ({found.data.metrics[SELECTION_METRIC]:.4f}) on this "
            f"data, split {cfg.split.name!r}, fold {cfg.split.fold}"
        )
    folder = workspace_of(cfg).cache / "checkpoints" / run_id
    if not (folder / CHECKPOINT).is_file():
        download_checkpoint(tracking, run_id, folder)
    return Chosen(folder / CHECKPOINT, f"run {run_id}: {reason}")


def datamodule_of(cfg: DictConfig, checkpoint: Checkpoint) -> KidneyDataModule:
    """Return the data that a checkpoint was trained on after its setup, in the same parts.

    Raises:
        ArtifactError: data or split are others by now, so its test part is not known.
    """
    lineage, folder = checkpoint.lineage, data_folder(cfg)
    slices = read_manifest(folder)
    split = read_split(folder, lineage.split.name, slices)
    now = (fingerprint(slices), split_fingerprint(split))
    then = (lineage.data.fingerprint, lineage.split.fingerprint)
    if now != then:
        raise ArtifactError(
            f"Expected the data and split that the checkpoint was trained with {then}, but "
            f"{folder} has {now}: slices of its training could be in this test part.",
            "Evaluate on the data folder of the training, or train again.",
        )
    data = KidneyDataModule(
        folder=folder,
        slices=slices,
        classes=checkpoint.hparams.classes,
        split=split,
        fold=lineage.split.fold,
        validation_fold=lineage.split.validation_folds[0],
        prepare=partial(prepare, size=checkpoint.hparams.image_size),
        batch_size=cfg.batch_size,
        num_workers=cfg.num_workers,
        seed=cfg.seed,
        slices_per_scan=cfg.slices_per_scan,
    )
    data.setup()
    return data


class LabelledSlices(NamedTuple):
    """Slices (H, W) uint8, and the true class index of each, int64."""

    slices: list[NDArray[np.uint8]]
    labels: NDArray[np.int64]


class ExportData(NamedTuple):
    """What an export is verified, quantised and evaluated on."""

    validation: LabelledSlices  # a few of each scan and of each size
    training: LabelledSlices  # a few of each scan
    test: LabelledSlices


def export_data(cfg: DictConfig, path: Path) -> tuple[ExportData, FiguresOf]:
    """Return the slices for the export of a checkpoint, and what evaluates a converted file.

    The slices are views of the slice cache. The second takes a predictor's predictions for the test
    part and returns the part of their evaluation that a card holds.

    Raises:
        KidneyError: the checkpoint cannot be read, or was trained on other data.
    """
    checkpoint = load_checkpoint(path)
    data = datamodule_of(cfg, checkpoint)
    return export_slices(data), _figures_of(checkpoint, data)


def export_slices(data: KidneyDataModule) -> ExportData:
    """Choose the slices of an export from data after their setup."""

    def part(rows: NDArray[np.int64]) -> LabelledSlices:
        return LabelledSlices([data.cache[int(row)] for row in rows], data.labels[rows])

    def few(name: str) -> NDArray[np.int64]:
        rows = np.random.default_rng(0).permutation(data.rows(name))
        keys = ["scan", "height", "width"]
        return rows[data.slices.iloc[rows].groupby(keys).cumcount().to_numpy() < _SLICES_PER_SCAN]

    training = part(few("train")[:_CALIBRATION_SLICES])
    return ExportData(part(few("val")), training, part(data.rows("test")))


def _figures_of(checkpoint: Checkpoint, data: KidneyDataModule) -> FiguresOf:
    slices = data.slices.iloc[data.rows("test")]
    lineage = checkpoint.lineage
    split = {**asdict(lineage.split), "part": "test"}
    classes = checkpoint.hparams.classes

    def figures_of(predictions: Sequence[Any]) -> dict[str, Any]:
        scored = predictions[0].ood_score is not None
        table = predictions_of(
            slices,
            classes,
            np.stack([prediction.probabilities for prediction in predictions]),
            np.stack([prediction.logits for prediction in predictions]),
            checkpoint.rules,
            np.array([prediction.ood_score for prediction in predictions]) if scored else None,
        )
        model, data = model_of(lineage, checkpoint.hparams.backbone), asdict(lineage.data)
        return evaluate(table, classes, model=model, data=data, split=split).of_card()

    return figures_of
