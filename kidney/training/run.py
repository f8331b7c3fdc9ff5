"""One training run: configuration in, best checkpoint and its record out."""

import logging
import shutil
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import (
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    TQDMProgressBar,
)
from pytorch_lightning.utilities import rank_zero_only

from kidney.data.datamodule import KidneyDataModule, SliceDataset
from kidney.errors import ConfigError
from kidney.files import whole_file, write_text
from kidney.models.classifier import resize
from kidney.models.task import KidneyTask
from kidney.tracking.runs import (
    SELECTION_METRIC,
    Tracking,
    end_run,
    lightning_logger,
    log_parameters,
    log_result,
    reopen_run,
    start_run,
)
from kidney.training.callbacks import BEST, LAST, SeedEachBatch, WholeCheckpoints
from kidney.training.features import pooled_features
from kidney.training.lineage import features_of, job_of, lineage_of, runs_folder
from kidney.training.memory import keep_freed_memory
from kidney.training.stages import data_folder
from kidney.training.sweep import parent_of_sweep

_MONITOR = "val_macro_auroc"


@dataclass(frozen=True)
class Trained:
    """What a training run leaves behind."""

    run_id: str
    checkpoint: Path
    val_macro_auroc: float


def train(
    cfg: DictConfig, slices: pd.DataFrame, split: dict[str, Any], parent: str | None = None
) -> Trained:
    """Train what `cfg` describes; go on where the same training was cut off.

    A run lies in runs/NAME-JOB, where JOB is a hash of everything that decides its result. While
    last.ckpt lies there the run is unfinished.

    Args:
        cfg: the whole configuration.
        slices: the manifest, and `split` the split, as `prepare` returned them.
        split: see `slices`.
        parent: id of the tracking run that this one belongs to; the sweep's by default.

    Raises:
        KidneyError: data, weights or settings do not fit; the message says what to do.
    """
    keep_freed_memory()
    _hush_lightning()
    lineage = lineage_of(cfg, slices, split)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    # Plain lists and dicts, not OmegaConf's: then the checkpoint loads without pickle.
    task: KidneyTask = instantiate(
        cfg.model, classes=list(cfg.data.classes), lineage=lineage, _convert_="all"
    )
    # Opened only now: weights that cannot be had leave no run behind.
    folder = runs_folder(cfg) / f"{cfg.model.backbone}-{job_of(cfg, lineage)}"
    tracking = Tracking(cfg.tracking.uri, cfg.tracking.experiment)
    run_id, resumed = _open_run(tracking, folder, cfg, lineage, parent)
    task.hparams["lineage"]["run"] = run_id

    data = datamodule(cfg)
    best_checkpoint = ModelCheckpoint(
        folder, filename=BEST.removesuffix(".ckpt"), monitor=_MONITOR, mode="max",
        save_weights_only=True, enable_version_counter=False, save_on_train_epoch_end=True,
    )  # fmt: skip
    # With the optimiser's state, three times the size: only resuming needs it.
    last_checkpoint = ModelCheckpoint(
        folder, save_top_k=0, save_last=True,
        enable_version_counter=False, save_on_train_epoch_end=True,
    )  # fmt: skip
    trainer: pl.Trainer = instantiate(
        cfg.trainer,
        logger=lightning_logger(tracking, run_id),
        callbacks=[
            SeedEachBatch(cfg.seed),
            EarlyStopping(_MONITOR, patience=cfg.patience, mode="max"),
            LearningRateMonitor(),
            TQDMProgressBar(refresh_rate=10),
            best_checkpoint,
            last_checkpoint,
        ],
        plugins=[WholeCheckpoints()],
        default_root_dir=folder,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        enable_model_summary=False,
    )
    if task.frozen:
        data.features = _features(cfg, task, data, lineage, trainer)
    try:
        trainer.fit(task, data, ckpt_path=folder / LAST if resumed else None, weights_only=True)
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        end_run(tracking, run_id, "KILLED" if stopped else "FAILED")
        raise
    best = Trained(run_id, folder / BEST, float(best_checkpoint.best_model_score or 0.0))
    if trainer.is_global_zero:
        _record(cfg, tracking, best)
    return best


def _record(cfg: DictConfig, tracking: Tracking, best: Trained) -> None:
    config = best.checkpoint.with_name("config.yaml")
    write_text(config, OmegaConf.to_yaml(cfg, resolve=True))
    log_result(
        tracking, best.run_id, {SELECTION_METRIC: best.val_macro_auroc}, [best.checkpoint, config]
    )
    end_run(tracking, best.run_id)
    if cfg.checkpoint:
        with whole_file(Path(cfg.checkpoint)) as copy:
            shutil.copyfile(best.checkpoint, copy)
    best.checkpoint.with_name(LAST).unlink(missing_ok=True)


def _open_run(
    tracking: Tracking,
    folder: Path,
    cfg: DictConfig,
    lineage: dict[str, Any],
    parent: str | None,
) -> tuple[str, bool]:
    """Return the tracking run and whether a checkpoint waits to be resumed."""
    known = folder / "run_id"
    if rank_zero_only.rank != 0:  # type: ignore[attr-defined]
        # The first process opened the run before it started this one.
        run_id = known.read_text(encoding="utf-8").strip() if known.is_file() else ""
        return run_id, (folder / LAST).is_file()
    if (folder / LAST).is_file() and known.is_file():
        run_id = known.read_text(encoding="utf-8").strip()
        if reopen_run(tracking, run_id):
            print(f"Resuming {folder}: this training was cut off", flush=True)
            return run_id, True
    shutil.rmtree(folder, ignore_errors=True)
    tags = {
        "data": lineage["data"]["fingerprint"],
        "split": lineage["split"]["fingerprint"],
        "split_name": cfg.split.name,
        "fold": str(cfg.split.fold),
        "validation_fold": str(lineage["split"]["validation_fold"]),
        "git_commit": lineage["code"],
        "data_name": cfg.data.name,
    }
    run_id = start_run(tracking, folder.name, tags, parent or parent_of_sweep())
    parameters = {
        f"{group}.{name}": value
        for group in ("model", "trainer", "split")
        for name, value in cfg[group].items()
    } | {name: cfg[name] for name in ("seed", "batch_size", "patience")}
    log_parameters(tracking, run_id, parameters)
    write_text(known, run_id)
    return run_id, False


def datamodule(cfg: DictConfig) -> KidneyDataModule:
    """Return the slices of the chosen data set, split and fold as batches."""
    return KidneyDataModule(
        folder=data_folder(cfg),
        classes=list(cfg.data.classes),
        split=cfg.split.name,
        fold=cfg.split.fold,
        validation_fold=cfg.split.validation_fold,
        resize=partial(resize, size=cfg.model.image_size),
        batch_size=cfg.batch_size,
        workers=cfg.workers,
        seed=cfg.seed,
    )


def _features(
    cfg: DictConfig,
    task: KidneyTask,
    data: KidneyDataModule,
    lineage: dict[str, Any],
    trainer: pl.Trainer,
) -> Any:
    data.setup()
    rows = len(data.slices)
    path = features_of(cfg, lineage)
    every = SliceDataset(data.cache, np.arange(rows), data.labels, data.resize)
    return pooled_features(
        task.classifier,
        every,
        rows,
        path,
        cfg.batch_size,
        cfg.workers,
        trainer.strategy.root_device,
    )


def _hush_lightning() -> None:
    """Silence what is no news: devices, tips, the run_id beside the checkpoints."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    for message in ("Checkpoint directory", ".*LeafSpec", "No negative samples", "No positive sam"):
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
