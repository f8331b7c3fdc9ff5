"""One fit by Lightning: a training with one validation fold in, the model of its last epoch out."""

import ctypes
import logging
import shutil
import sys
import warnings
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from numpy.typing import NDArray
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from kidney.data.datamodule import KidneyDataModule, SliceDataset
from kidney.files import locked, whole_file
from kidney.models.checkpoint import Lineage
from kidney.models.task import KidneyTask
from kidney.tracking.runs import CHECKPOINT, can_resume, lightning_logger, tracked_run
from kidney.training.features import frozen_features, locate_kidneys
from kidney.training.spec import TrainingSpec

RESUME = "resume.ckpt"  # last epoch and optimizer state, while the fit is unfinished
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h of glibc
_NEVER = 2**31 - 1


def fit(
    spec: TrainingSpec, validation_fold: int, lineage: Lineage, folder: Path, parent: str
) -> Path:
    """Train with one fold for validation; go on where the same fit was cut off.

    While resume.ckpt lies in `folder` the fit is unfinished.

    Args:
        validation_fold: the validation part; the training part is all but it and the test fold.
    """
    keep_freed_memory()
    _silence_lightning()
    pl.seed_everything(spec.seed, workers=True, verbose=False)
    task = spec.make_task(lineage=asdict(lineage))
    data = spec.datamodule(validation_fold)
    resumes = (folder / RESUME).is_file()
    if is_first_process():
        if resumes := resumes and can_resume(spec.tracking, folder):
            print(f"Resuming {folder}: this training was cut off", flush=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    tags = {"kind": "fit", "validation_fold": str(validation_fold)}
    with (
        tracked_run(spec.tracking, folder, tags, parent=parent, resume=resumes)
        if is_first_process()
        else nullcontext("")
    ) as run_id:
        trainer = spec.make_trainer(
            logger=lightning_logger(spec.tracking, run_id) if run_id else CSVLogger(folder),
            callbacks=[
                SeedEachBatch(spec.seed),
                LearningRateMonitor(logging_interval="epoch"),
                TQDMProgressBar(refresh_rate=10),
                _every_epoch(folder),
            ],
            plugins=[WholeCheckpoints()],
            default_root_dir=folder,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            enable_model_summary=False,
        )
        if task.trainable != "network":
            locate_kidneys(task.classifier, lineage.weights, spec.workspace.cache)
            data.features = _all_features(spec, task, data, lineage)
        trainer.fit(task, data, ckpt_path=folder / RESUME if resumes else None, weights_only=True)
        # The schedule ends at the last epoch: to choose an epoch by a few validation scans would
        # make these scans look better than new ones, and calibration and decisions rest on them.
        trainer.save_checkpoint(folder / CHECKPOINT, weights_only=True)
    if trainer.is_global_zero:
        (folder / RESUME).unlink(missing_ok=True)
    return folder / CHECKPOINT


def is_first_process() -> bool:
    """Tell whether this process keeps the tracking run; others may begin before it is open."""
    return bool(rank_zero_only.rank == 0)  # type: ignore[attr-defined]


def is_finished(folder: Path) -> bool:
    """Tell whether the fit in this folder ended."""
    return (folder / CHECKPOINT).is_file() and not (folder / RESUME).is_file()


def _all_features(
    spec: TrainingSpec, task: KidneyTask, data: KidneyDataModule, lineage: Lineage
) -> list[NDArray[np.floating]]:
    """Return the frozen part's features of slices and augmentations, computed where missing."""
    data.setup()
    rows = len(data.slices)
    slices = SliceDataset(data.cache, np.arange(rows), data.labels, data.prepare)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classifier = task.classifier.eval().to(device)

    def trunk(images: Tensor) -> Tensor:
        """Maps take a thousand times the room: half precision rounds them by a 2,000th."""
        return classifier.forward_trunk(images).half()

    frozen = trunk if task.trainable == "tail" else classifier.embed
    first = spec.features_path(lineage, 0)
    with locked(first.with_name(f".{first.name}.lock"), f"Another process computes {first}"):
        return [
            frozen_features(
                frozen, slices, rows, spec.features_path(lineage, augmentation), augmentation,
                spec.batch_size, spec.num_workers, device,
            )
            for augmentation in range(1 + spec.augmentations)
        ]  # fmt: skip


def _every_epoch(folder: Path) -> ModelCheckpoint:
    """Return the callback that keeps the last epoch as resume.ckpt."""
    callback = ModelCheckpoint(
        folder, save_top_k=0, save_last=True,
        enable_version_counter=False, save_on_train_epoch_end=True,
    )  # fmt: skip
    callback.CHECKPOINT_NAME_LAST = Path(RESUME).stem
    return callback


class SeedEachBatch(pl.Callback):
    """Draws for a batch depend on seed, epoch, batch and rank alone, so it can be repeated."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002  Lightning's signature
        batch: Any,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        """Seed torch before the batch is augmented."""
        place = [self.seed, trainer.current_epoch, batch_idx, trainer.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))


class WholeCheckpoints(TorchCheckpointIO):
    """A checkpoint file appears whole or not at all, also when the process is killed."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write beside the final name, then rename."""
        with whole_file(Path(path)) as temporary:
            super().save_checkpoint(checkpoint, temporary, storage_options)


def keep_freed_memory() -> None:
    """Tell glibc to keep and reuse what is freed; does nothing elsewhere.

    By default glibc maps every large tensor anew and returns it at once, and the kernel then clears
    each page again: on 2 cores a forward pass of EfficientNet-Lite0 took 2.2 times as long.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _NEVER)


def _silence_lightning() -> None:
    """Hide notices about devices, tips and the run_id beside the checkpoints."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    for message in (
        "Checkpoint directory",
        "Found .* in eval mode",
        ".*LeafSpec",
        "No negative samples",
        "No positive sam",
    ):
        warnings.filterwarnings("ignore", message=message)
