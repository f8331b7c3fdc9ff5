"""Every fold trained, and what each says of slices it has not seen pooled to one answer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig, OmegaConf

from kidney.evaluation.report import evaluate
from kidney.files import write_text
from kidney.models.checkpoint import load_checkpoint
from kidney.tracking.runs import (
    SELECTION_METRIC,
    Tracking,
    end_run,
    log_parameters,
    log_result,
    reopen_run,
    start_run,
)
from kidney.training.lineage import features_of, job_of, lineage_of, runs_folder
from kidney.training.predict import predict
from kidney.training.results import FILES, predictions_of, write_result
from kidney.training.run import Trained, datamodule, train
from kidney.training.sweep import parent_of_sweep

_PARTS = ("val", "test")
_TEXTS = dict.fromkeys(("path", "label", "scan", "patient"), str)


@dataclass(frozen=True)
class Pooled:
    """What a cross-validation leaves behind.

    Attributes:
        run_id: the parent of the folds' runs.
        result: figures of the pooled test parts, as `evaluate` gives them.
        val_macro_auroc: of the pooled validation parts; settings are chosen by it.
        folder: with report.html, metrics.json, predictions.csv of the test parts and
            validation-predictions.csv.
    """

    run_id: str
    result: dict[str, Any]
    val_macro_auroc: float
    folder: Path


def cross_validate(cfg: DictConfig, slices: pd.DataFrame, split: dict[str, Any]) -> Pooled:
    """Train all folds of the split and evaluate the pooled predictions of their test parts.

    Each slice is tested once, by the model of the fold that has not seen its patient. A run that
    was killed goes on with the fold that it was at.

    Args:
        cfg: the whole configuration; split.fold is not read.
        slices: the manifest, as `prepare` returned it.
        split: the split, as `prepare` returned it.
    """
    lineage = lineage_of(_of_fold(cfg, 0), slices, split)
    job = job_of(_of_fold(cfg, 0), lineage)
    folder = runs_folder(cfg) / f"cv-{cfg.model.backbone}-{job}"
    tracking = Tracking(cfg.tracking.uri, cfg.tracking.experiment)
    run_id = _open_parent(tracking, folder, cfg, lineage)
    tables = []
    for fold in range(split["folds"]):
        file = folder / f"fold-{fold}.csv"
        if not file.is_file():
            print(f"Fold {fold} of {split['folds']}", flush=True)
            fold_cfg = _of_fold(cfg, fold)
            best = train(fold_cfg, slices, split, run_id)
            write_text(file, _predictions(fold_cfg, best, lineage).to_csv(index=False))
        # Only what is written is read: a class or scan may be called None or 0012.
        tables.append(pd.read_csv(file, dtype=_TEXTS, keep_default_na=False))
    pooled = _pool(cfg, pd.concat(tables), {**lineage, "run": run_id}, folder)
    _log(tracking, pooled)
    for file in folder.glob("fold-*.csv"):  # done: the same command starts anew
        file.unlink()
    return pooled


def _of_fold(cfg: DictConfig, fold: int) -> DictConfig:
    changed = OmegaConf.merge(cfg, {"split": {"fold": fold}, "checkpoint": None})
    assert isinstance(changed, DictConfig)
    return changed


def _open_parent(tracking: Tracking, folder: Path, cfg: DictConfig, lineage: dict[str, Any]) -> str:
    known = folder / "run_id"
    if any(folder.glob("fold-*.csv")) and known.is_file():
        run_id = known.read_text(encoding="utf-8").strip()
        if reopen_run(tracking, run_id):
            print(f"Resuming {folder}: this cross-validation was cut off", flush=True)
            return run_id
    tags = {
        "kind": "cross-validation",
        "data": lineage["data"]["fingerprint"],
        "split": lineage["split"]["fingerprint"],
        "split_name": cfg.split.name,
        "fold": "all",
        "git_commit": lineage["code"],
    }
    run_id = start_run(tracking, folder.name, tags, parent_of_sweep())
    parameters = {f"model.{name}": value for name, value in cfg.model.items()}
    log_parameters(tracking, run_id, parameters | {"seed": cfg.seed})
    write_text(known, run_id)
    return run_id


def _predictions(cfg: DictConfig, best: Trained, lineage: dict[str, Any]) -> pd.DataFrame:
    """Return what the fold's best checkpoint says of its validation and test part."""
    classifier, settings = load_checkpoint(best.checkpoint)
    data = datamodule(cfg)
    if settings["frozen"]:
        data.features = np.load(features_of(cfg, lineage))
    data.setup()
    loaders = {"val": data.val_dataloader(), "test": data.test_dataloader()}
    tables = []
    for part in _PARTS:
        slices = data.slices.iloc[data.rows(part)]
        said = predictions_of(slices, settings["classes"], predict(classifier, loaders[part]))
        tables.append(said.assign(part=part, fold=cfg.split.fold))
    return pd.concat(tables)


def _pool(
    cfg: DictConfig,
    said: pd.DataFrame,
    lineage: dict[str, Any],
    folder: Path,
) -> Pooled:
    parts = {part: said[said["part"] == part] for part in _PARTS}
    figures = {part: _figures(rows, list(cfg.data.classes)) for part, rows in parts.items()}
    result = {
        "model": {"backbone": cfg.model.backbone, "run": lineage["run"], "code": lineage["code"]},
        "data": lineage["data"],
        "split": {**lineage["split"], "fold": "all", "part": "test"},
        **figures["test"],
    }
    write_result(folder, result, parts["test"])
    write_text(folder / "validation-predictions.csv", parts["val"].to_csv(index=False))
    chosen_by = figures["val"]["figures"]["macro_auroc"]["value"]
    return Pooled(lineage["run"], result, float(chosen_by or 0.0), folder)


def _figures(said: pd.DataFrame, classes: list[str]) -> dict[str, Any]:
    labels = said["label"].map(classes.index).to_numpy(np.int64)
    probabilities = said[classes].to_numpy(np.float64)
    return evaluate(labels, probabilities, said["patient"].to_numpy(), classes)


def _log(tracking: Tracking, pooled: Pooled) -> None:
    figures = {
        f"pooled_{name}": figure["value"]
        for name, figure in pooled.result["figures"].items()
        if figure["value"] is not None
    }
    files = [pooled.folder / name for name in (*FILES, "validation-predictions.csv")]
    figures[SELECTION_METRIC] = pooled.val_macro_auroc
    log_result(tracking, pooled.run_id, figures, files)
    end_run(tracking, pooled.run_id)
