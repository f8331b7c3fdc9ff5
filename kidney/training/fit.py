"""One fit by Lightning: configuration in, the checkpoint of its last epoch out."""

import logging
import shutil
import warnings
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig
from pytorch_lightning.callbacks import (
    LearningRateMonitor,
    ModelCheckpoint,
    TQDMProgressBar,
)
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from kidney.data.datamodule import KidneyDataModule, SliceDataset
from kidney.data.split import Split
from kidney.errors import ConfigError
from kidney.models.prepare import prepare
from kidney.models.task import KidneyTask
from kidney.pipeline.data_stages import data_folder
from kidney.pipeline.lineage import features_of, lineage_of
from kidney.pipeline.sweep import one_job_at_a_time
from kidney.tracking.runs import (
    Tracking,
    closed_when_cut_off,
    end_run,
    lightning_logger,
)
from kidney.training.callbacks import BEST, LAST, SeedEachBatch, WholeCheckpoints
from kidney.training.features import frozen_features, open_features
from kidney.training.locator_fit import learn_to_locate
from kidney.training.memory import keep_freed_memory
from kidney.training.resume import opened, reopened


def fit(cfg: DictConfig, slices: pd.DataFrame, split: Split, folder: Path, parent: str) -> Path:
    """Train what `cfg` describes with one fold for validation; go on where it was cut off.

    While last.ckpt lies in `folder` the fit is unfinished.

    Args:
        cfg: the whole configuration; split.validation_fold is a number.
        slices: the manifest, and `split` the split, as `prepare` returned them.
        split: see `slices`.
        folder: where the checkpoints go.
        parent: id of the tracking run that this one belongs to.

    Returns:
        The checkpoint of the last epoch.

    Raises:
        KidneyError: data, weights or settings do not fit; the message says what to do.
    """
    keep_freed_memory()
    _hush_lightning()
    lineage = lineage_of(cfg, slices, split, [cfg.split.validation_fold])
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    # Plain lists and dicts, not OmegaConf's: then the checkpoint loads without pickle.
    task: KidneyTask = instantiate(
        cfg.model, classes=list(cfg.data.classes), lineage=lineage, _convert_="all"
    )
    tracking = Tracking(cfg.tracking.uri, cfg.tracking.experiment)
    run_id, resumed = _open_run(tracking, folder, cfg, parent)
    data = datamodule(cfg)
    last_checkpoint = ModelCheckpoint(
        folder, save_top_k=0, save_last=True,
        enable_version_counter=False, save_on_train_epoch_end=True,
    )  # fmt: skip
    trainer: pl.Trainer = instantiate(
        cfg.trainer,
        logger=lightning_logger(tracking, run_id) if is_first_process() else CSVLogger(folder),
        callbacks=[
            SeedEachBatch(cfg.seed),
            LearningRateMonitor(logging_interval="epoch"),
            TQDMProgressBar(refresh_rate=10),
            last_checkpoint,
        ],
        plugins=[WholeCheckpoints()],
        default_root_dir=folder,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        enable_model_summary=False,
    )
    if task.trains != "network":
        learn_to_locate(cfg, task.classifier, lineage["weights"])
        with one_job_at_a_time(features_of(cfg, lineage, 0)):
            data.features = all_features(cfg, task, data, lineage)
    with closed_when_cut_off(tracking, run_id) if is_first_process() else nullcontext():
        trainer.fit(task, data, ckpt_path=folder / LAST if resumed else None, weights_only=True)
    # The schedule ends at the last epoch: to choose an epoch by a few validation scans would make
    # these scans look better than new ones, and the decisions are settled on them.
    trainer.save_checkpoint(folder / BEST, weights_only=True)
    if trainer.is_global_zero:
        end_run(tracking, run_id)
        (folder / LAST).unlink(missing_ok=True)
    return folder / BEST


def is_first_process() -> bool:
    """Tell whether this process keeps the tracking run; others may begin before it is open."""
    return bool(rank_zero_only.rank == 0)  # type: ignore[attr-defined]


def is_finished(folder: Path) -> bool:
    """Tell whether the fit in this folder ended."""
    return (folder / BEST).is_file() and not (folder / LAST).is_file()


def _open_run(tracking: Tracking, folder: Path, cfg: DictConfig, parent: str) -> tuple[str, bool]:
    """Return the tracking run and whether a checkpoint waits to be resumed."""
    waits = (folder / LAST).is_file()
    if not is_first_process():
        return "", waits
    if waits and (run_id := reopened(tracking, folder)):
        print(f"Resuming {folder}: this training was cut off", flush=True)
        return run_id, True
    shutil.rmtree(folder, ignore_errors=True)
    tags = {"kind": "member", "validation_fold": str(cfg.split.validation_fold)}
    return opened(tracking, folder, folder.name, tags, parent, {}), False


def datamodule(cfg: DictConfig) -> KidneyDataModule:
    """Return the slices of the chosen data set, split and fold as batches."""
    return KidneyDataModule(
        folder=data_folder(cfg),
        classes=list(cfg.data.classes),
        split=cfg.split.name,
        fold=cfg.split.fold,
        validation_fold=cfg.split.validation_fold,
        prepare=partial(prepare, size=cfg.model.image_size),
        batch_size=cfg.batch_size,
        workers=cfg.workers,
        seed=cfg.seed,
        per_scan=cfg.per_scan,
    )


def all_features(
    cfg: DictConfig, task: KidneyTask, data: KidneyDataModule, lineage: dict[str, Any]
) -> list[NDArray[np.floating]]:
    """Return the features of every view from the frozen part, computed where they are missing."""
    data.setup()
    rows = len(data.slices)
    every = SliceDataset(data.cache, np.arange(rows), data.labels, data.prepare)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classifier = task.classifier.eval().to(device)

    def begun(images: Tensor) -> Tensor:
        """Maps take a thousand times the room: half precision rounds them by a 2,000th."""
        return classifier.begun(images).half()

    frozen = begun if task.trains == "tail" else classifier.described
    return [
        frozen_features(
            frozen,
            every,
            rows,
            features_of(cfg, lineage, view),
            view,
            cfg.batch_size,
            cfg.workers,
            device,
        )
        for view in range(1 + cfg.views)
    ]


def with_features(cfg: DictConfig, lineage: dict[str, Any]) -> KidneyDataModule:
    """Return the data module of a training after its setup, with features where it used them."""
    data = datamodule(cfg)
    if cfg.model.trains != "network":
        data.features = [open_features(features_of(cfg, lineage, 0))]
    data.setup()
    return data


def _hush_lightning() -> None:
    """Silence what is no news: devices, tips, the run_id beside the checkpoints."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    for message in (
        "Checkpoint directory",
        "Found .* in eval mode",
        ".*LeafSpec",
        "No negative samples",
        "No positive sam",
    ):
        warnings.filterwarnings("ignore", message=message)


def refuse_distributed_sweep(strategy: str) -> None:
    """Stop a multirun whose jobs would start processes that re-enter the whole sweep.

    Raises:
        ConfigError: the strategy starts its processes by running the command again.
    """
    if strategy.startswith("ddp") and "spawn" not in strategy:
        raise ConfigError(
            f"Expected a sweep of single-process jobs, but trainer.strategy is {strategy!r}: its "
            "second process would start the whole sweep again.",
            "Add trainer.strategy=ddp_spawn, or run the jobs one by one without -m.",
        )
