"""A training: one fit a validation fold, put together to one model that knows how sure it is.

A head or tail is fitted several times, each time with another of the folds left out for validation,
and the mean of these fits is the model: no slice is lost to training, and every training scan has
an answer from a fit that has not seen it, on which temperature and decisions are settled. A whole
network is fitted once, since each fit takes long.
"""

import shutil
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from kidney.data.split import Split, check_folds, validation_fold_of
from kidney.errors import ConfigError
from kidney.files import whole_file, write_text
from kidney.models.average import average
from kidney.models.checkpoint import load_checkpoint, save_checkpoint
from kidney.pipeline.lineage import lineage_of, run_folder, tags_of
from kidney.pipeline.sweep import parent_of_sweep
from kidney.tracking.runs import (
    SELECTION_METRIC,
    Tracking,
    closed_when_cut_off,
    end_run,
    log_result,
)
from kidney.training.calibrate import settle
from kidney.training.callbacks import BEST
from kidney.training.fit import fit, is_finished, is_first_process
from kidney.training.resume import opened, reopened


@dataclass(frozen=True)
class Trained:
    """What a training leaves behind.

    Attributes:
        run_id: its tracking run.
        checkpoint: the model.
        val_macro_auroc: of the validation folds together.
        validation: what the fits say of their validation slices, as predictions.csv has it.
    """

    run_id: str
    checkpoint: Path
    val_macro_auroc: float
    validation: pd.DataFrame


def validation_folds(cfg: DictConfig, split: Split) -> list[int]:
    """Return the folds that validate in turn.

    Raises:
        ConfigError: there is no such fold, or one fold is to be both parts.
    """
    fold, asked = cfg.split.fold, cfg.split.validation_fold
    check_folds(split, fold, asked)
    if asked is None and cfg.model.trains != "network":
        return [other for other in range(split.folds) if other != fold]
    return [validation_fold_of(split, fold, asked)]


def train(
    cfg: DictConfig, slices: pd.DataFrame, split: Split, parent: str | None = None
) -> Trained:
    """Train what `cfg` describes; go on where the same training was cut off.

    A run lies in runs/NAME-JOB, where JOB is a hash of everything that decides its result. While
    it has no best.ckpt it is unfinished.

    Args:
        cfg: the whole configuration.
        slices: the manifest, and `split` the split, as `prepare` returned them.
        split: see `slices`.
        parent: id of the tracking run that this one belongs to; the sweep's by default.

    Raises:
        KidneyError: data, weights or settings do not fit; the message says what to do.
    """
    _refuse_distributed_parts(cfg)
    folds = validation_folds(cfg, split)
    lineage = lineage_of(cfg, slices, split, folds)
    # Weights that cannot be had and settings that cannot work leave no run behind.
    instantiate(cfg.model, classes=list(cfg.data.classes), lineage=lineage, _convert_="all")
    folder = run_folder(cfg, lineage)
    tracking = Tracking(cfg.tracking.uri, cfg.tracking.experiment)
    lineage["run"] = run_id = _open_run(tracking, folder, cfg, lineage, parent)
    members = []
    with closed_when_cut_off(tracking, run_id) if is_first_process() else nullcontext():
        for fold in folds:
            member = OmegaConf.merge(cfg, {"split": {"validation_fold": fold}})
            assert isinstance(member, DictConfig)
            at = folder / f"validation-{fold}"
            if not is_finished(at):
                fit(member, slices, split, at, run_id)
            members.append(at / BEST)
        if not is_first_process():
            return Trained(run_id, folder / BEST, float("nan"), pd.DataFrame())
        return _put_together(cfg, folds, members, lineage, folder, tracking)


def _put_together(
    cfg: DictConfig,
    folds: list[int],
    checkpoints: list[Path],
    lineage: dict[str, Any],
    folder: Path,
    tracking: Tracking,
) -> Trained:
    loaded = [load_checkpoint(checkpoint) for checkpoint in checkpoints]
    members = [classifier for classifier, _ in loaded]
    settings = {**loaded[0][1], "lineage": lineage}
    whole = average(members)
    settled = settle(cfg, whole, dict(zip(folds, members, strict=True)), lineage)
    settings["rules"] = settled.rules
    config = folder / "config.yaml"
    write_text(config, OmegaConf.to_yaml(cfg, resolve=True))
    write_text(folder / "validation.csv", settled.validation.to_csv(index=False))
    save_checkpoint(whole, settings, folder / BEST)
    best = Trained(lineage["run"], folder / BEST, settled.macro_auroc, settled.validation)
    log_result(
        tracking, best.run_id, {SELECTION_METRIC: best.val_macro_auroc}, [best.checkpoint, config]
    )
    end_run(tracking, best.run_id)
    if cfg.checkpoint:
        with whole_file(Path(cfg.checkpoint)) as copy:
            shutil.copyfile(best.checkpoint, copy)
    return best


def _open_run(
    tracking: Tracking,
    folder: Path,
    cfg: DictConfig,
    lineage: dict[str, Any],
    parent: str | None,
) -> str:
    """Return the tracking run: the one that was cut off, or a new one."""
    if not is_first_process():
        return ""
    if not (folder / BEST).is_file() and (run_id := reopened(tracking, folder)):
        return run_id
    shutil.rmtree(folder, ignore_errors=True)
    tags = {
        "kind": "training",
        "fold": str(cfg.split.fold),
        "validation_folds": " ".join(map(str, lineage["split"]["validation_folds"])),
        "data_name": cfg.data.name,
    } | tags_of(cfg, lineage)
    name = f"fold {cfg.split.fold}, {folder.name}"
    parameters = {
        f"{group}.{name}": value
        for group in ("model", "trainer", "split", "decisions")
        for name, value in cfg[group].items()
    } | {name: cfg[name] for name in ("seed", "batch_size", "per_scan", "views")}
    return opened(tracking, folder, name, tags, parent or parent_of_sweep(), parameters)


def _refuse_distributed_parts(cfg: DictConfig) -> None:
    if cfg.model.trains != "network" and str(cfg.trainer.strategy).startswith("ddp"):
        raise ConfigError(
            f"Expected one process for model.trains={cfg.model.trains}, but trainer.strategy is "
            f"{cfg.trainer.strategy!r}: the frozen part is computed once, by one process.",
            "Use trainer=cpu or trainer=gpu, or train the whole network: model.trains=network.",
        )
