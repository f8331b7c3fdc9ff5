"""What to train, on which data, and where its files and records go."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl

from kidney.data.cache import open_thumbnails
from kidney.data.datamodule import KidneyDataModule
from kidney.data.manifest import fingerprint
from kidney.data.split import Split, check_folds, parts_of, split_fingerprint, validation_fold_of
from kidney.files import digest
from kidney.imaging.appearance import baseline
from kidney.models.backbones import weights_identity
from kidney.models.checkpoint import DataLineage, Hparams, Lineage, SplitLineage
from kidney.models.prepare import prepare
from kidney.models.task import KidneyTask
from kidney.tracking.runs import Tracking, code_version
from kidney.training.features import features_path, open_features
from kidney.workspace import Workspace


@dataclass(frozen=True, eq=False)
class TrainingSpec:
    """A training."""

    workspace: Workspace
    tracking: Tracking
    data: str  # name of the data set
    window: str | None  # of Hounsfield units through which slices are shown; None: 8-bit pictures
    slices: pd.DataFrame  # the manifest
    split: Split
    fold: int  # the test fold
    # the validation fold; None: every other fold in turn where a part of the network is trained,
    # else the one after `fold`
    validation_fold: int | None
    hparams: Hparams
    make_task: Callable[..., KidneyTask]  # KidneyTask with all arguments but `lineage`
    make_trainer: Callable[..., pl.Trainer]  # Lightning's Trainer with the settings of conf/trainer
    strategy: str  # of that trainer
    decisions: Mapping[str, float]  # targets of `fit_rules`
    seed: int  # of all draws
    batch_size: int
    num_workers: int
    slices_per_scan: int  # slices of each scan that an epoch shows
    augmentations: int  # augmented copies of each slice whose features are kept for a frozen part
    parameters: Mapping[str, Any]  # all settings that decide the result, by dotted name
    config: str  # the whole configuration as YAML, kept with the checkpoint

    def with_fold(self, fold: int) -> "TrainingSpec":
        """Return the same training with another test fold."""
        return replace(self, fold=fold, parameters={**self.parameters, "split.fold": fold})

    @property
    def folder(self) -> Path:
        """Data set, manifest, split file and slice cache."""
        return self.workspace.data(self.data)

    @property
    def freezes(self) -> bool:
        """Whether a part of the network stays as it is, so that its features are computed once."""
        return self.hparams.trainable != "network"

    def validation_folds(self) -> list[int]:
        """Return the folds that validate in turn.

        Raises:
            ConfigError: there is no such fold, or one fold is to be both parts.
        """
        check_folds(self.split, self.fold, self.validation_fold)
        if self.validation_fold is None and self.freezes:
            return [other for other in range(self.split.folds) if other != self.fold]
        return [validation_fold_of(self.split, self.fold, self.validation_fold)]

    def datamodule(self, validation_fold: int) -> KidneyDataModule:
        """Return the slices as batches, without features and before its setup."""
        return KidneyDataModule(
            folder=self.folder,
            slices=self.slices,
            classes=self.hparams.classes,
            split=self.split,
            fold=self.fold,
            validation_fold=validation_fold,
            prepare=partial(prepare, size=self.hparams.image_size),
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            seed=self.seed,
            slices_per_scan=self.slices_per_scan,
        )

    def features_path(self, lineage: Lineage, augmentation: int) -> Path:
        """Return where the features of the frozen part are kept."""
        data, weights = lineage.data.fingerprint, lineage.weights
        return features_path(self.workspace.cache, data, weights, self.hparams, augmentation)

    def datamodule_with_features(self, validation_fold: int, lineage: Lineage) -> KidneyDataModule:
        """Return the data module of a finished fit after its setup, with features if it has any."""
        data = self.datamodule(validation_fold)
        if self.freezes:
            data.features = [open_features(self.features_path(lineage, 0))]
        data.setup()
        return data

    def lineage(self) -> Lineage:
        """Return which data, split, weights and code the training starts from.

        `baseline` describes the slices of the training part: all but the test part where several
        folds validate in turn.
        """
        folds = self.validation_folds()
        slices = self.slices
        parts = parts_of(slices, self.split, self.fold, folds[0])
        rows = np.flatnonzero(parts == "train" if len(folds) == 1 else parts != "test")
        shapes = slices[["height", "width"]].to_numpy()[rows].tolist()
        return Lineage(
            DataLineage(
                name=self.data,
                source=str(slices["origin"].iloc[0]),
                fingerprint=fingerprint(slices),
                slices=len(slices),
                scans=int(slices["scan"].nunique()),
                window=self.window,
            ),
            SplitLineage(
                name=self.split.name,
                fingerprint=split_fingerprint(self.split),
                fold=self.fold,
                validation_folds=folds,
                folds=self.split.folds,
            ),
            baseline=baseline(open_thumbnails(self.folder, slices)[rows], shapes),
            weights=weights_identity(self.hparams.backbone, self.hparams.weights),
            code=code_version(),
        )

    def job(self, lineage: Lineage) -> str:
        """Return 10 hexadecimal digits of all that decides the result of the training."""
        decides = [
            dict(self.parameters), list(self.hparams.classes), lineage.data.fingerprint,
            asdict(lineage.split), lineage.weights,
        ]  # fmt: skip
        return digest(decides)

    def run_folder(self, lineage: Lineage) -> Path:
        """Return where the run of the training lies."""
        return self.workspace.runs / f"{self.hparams.backbone}-{self.job(lineage)}"


def tags_of(lineage: Lineage) -> dict[str, str]:
    """Return the tags by which a run is found again: its data, its split and its code."""
    return {
        "data": lineage.data.fingerprint,
        "split": lineage.split.fingerprint,
        "split_name": lineage.split.name,
        "git_commit": lineage.code,
    }


def model_of(lineage: Lineage, backbone: str) -> dict[str, str]:
    """Return what a result says of its model."""
    return {"backbone": backbone, "run": lineage.run, "code": lineage.code}
