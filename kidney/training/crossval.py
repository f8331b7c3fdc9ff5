"""Every fold trained, and what each says of slices it has not seen pooled to one answer."""

from dataclasses import dataclass
from functools import cache as cache_results
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig, OmegaConf

from kidney.data.cache import open_cache
from kidney.evaluation.evaluate import evaluate
from kidney.evaluation.metrics.classification import figures
from kidney.evaluation.report.examples import Explain, worst_examples
from kidney.evaluation.result import EvaluationResult
from kidney.files import write_text
from kidney.models.checkpoint import load_checkpoint
from kidney.models.classifier import KidneyClassifier
from kidney.pipeline.data_stages import data_folder
from kidney.pipeline.evaluate_checkpoint import beside, test_predictions
from kidney.pipeline.examples import explain
from kidney.pipeline.lineage import job_of, lineage_of, run_folder, runs_folder, tags_of
from kidney.pipeline.result_files import FILES, read_predictions, write_result
from kidney.pipeline.sweep import parent_of_sweep
from kidney.tracking.runs import (
    CROSS_VALIDATION,
    SELECTION_METRIC,
    Tracking,
    closed_when_cut_off,
    end_run,
    log_result,
)
from kidney.training.callbacks import BEST
from kidney.training.ensemble import train, validation_folds
from kidney.training.fit import with_features
from kidney.training.resume import opened, reopened


@dataclass(frozen=True)
class Pooled:
    """What a cross-validation leaves behind.

    Attributes:
        run_id: the parent of the folds' runs.
        result: figures of the pooled test parts, as `evaluate` gives them.
        val_macro_auroc: mean over the folds of that on their validation slices; settings are chosen
            by it.
        folder: with report.html, metrics.json, predictions.csv of the test parts and
            validation-predictions.csv.
    """

    run_id: str
    result: EvaluationResult
    val_macro_auroc: float
    folder: Path


def cross_validate(
    cfg: DictConfig,
    slices: pd.DataFrame,
    split: dict[str, Any],
    parent: str | None = None,
    name: str | None = None,
) -> Pooled:
    """Train all folds of the split and evaluate the pooled predictions of their test parts.

    Each slice is tested once, by the model of the fold that has not seen its patient. A run that
    was killed goes on with the fold that it was at.

    Args:
        cfg: the whole configuration; split.fold is not read.
        slices: the manifest, as `prepare` returned it.
        split: the split, as `prepare` returned it.
        parent: id of the tracking run that this one belongs to; the sweep's by default.
        name: of its tracking run; that of its folder by default.
    """
    first = _of_fold(cfg, 0)
    lineage = lineage_of(first, slices, split, validation_folds(first, split))
    folder = runs_folder(cfg) / f"cv-{cfg.model.backbone}-{job_of(first, lineage)}"
    tracking = Tracking(cfg.tracking.uri, cfg.tracking.experiment)
    run_id = _open_run(tracking, folder, cfg, lineage, parent, name)
    with closed_when_cut_off(tracking, run_id):
        tables = []
        for fold in range(split["folds"]):
            file = folder / f"fold-{fold}.csv"
            if not file.is_file():
                print(f"Fold {fold} of {split['folds']}", flush=True)
                said = _fold_predictions(_of_fold(cfg, fold), slices, split, run_id)
                write_text(file, said.to_csv(index=False))
            tables.append(read_predictions(file))
        pooled = _pool(cfg, slices, split, pd.concat(tables), {**lineage, "run": run_id}, folder)
        _log(tracking, pooled)
    for file in folder.glob("fold-*.csv"):  # done: the same command starts anew
        file.unlink()
    return pooled


def job_of_folds(cfg: DictConfig, slices: pd.DataFrame, split: dict[str, Any]) -> str:
    """Return 10 hexadecimal digits of all that decides the result of a cross-validation."""
    cfg = _of_fold(cfg, 0)
    return job_of(cfg, lineage_of(cfg, slices, split, validation_folds(cfg, split)))


def _of_fold(cfg: DictConfig, fold: int) -> DictConfig:
    changed = OmegaConf.merge(cfg, {"split": {"fold": fold}, "checkpoint": None})
    assert isinstance(changed, DictConfig)
    return changed


def _open_run(
    tracking: Tracking,
    folder: Path,
    cfg: DictConfig,
    lineage: dict[str, Any],
    parent: str | None,
    name: str | None,
) -> str:
    if any(folder.glob("fold-*.csv")) and (run_id := reopened(tracking, folder)):
        print(f"Resuming {folder}: this cross-validation was cut off", flush=True)
        return run_id
    tags = {"kind": CROSS_VALIDATION, "fold": "all"} | tags_of(cfg, lineage)
    parameters = {f"model.{name}": value for name, value in cfg.model.items()}
    parameters["seed"] = cfg.seed
    parent = parent or parent_of_sweep()
    return opened(tracking, folder, name or folder.name, tags, parent, parameters)


def _fold_predictions(
    cfg: DictConfig, slices: pd.DataFrame, split: dict[str, Any], parent: str
) -> pd.DataFrame:
    """Train one fold and return what is said of its validation and of its test slices."""
    best = train(cfg, slices, split, parent)
    classifier, settings = load_checkpoint(best.checkpoint)
    data = with_features(cfg, settings["lineage"])
    tested = test_predictions(classifier, settings, data)
    parts = [best.validation.assign(part="val"), tested.assign(part="test")]
    return pd.concat(parts).assign(fold=cfg.split.fold)


def _pool(
    cfg: DictConfig,
    slices: pd.DataFrame,
    split: dict[str, Any],
    said: pd.DataFrame,
    lineage: dict[str, Any],
    folder: Path,
) -> Pooled:
    classes = list(cfg.data.classes)
    tested = said[said["part"] == "test"].reset_index(drop=True)
    validated = said[said["part"] == "val"]
    result = evaluate(
        tested,
        classes,
        model={"backbone": cfg.model.backbone, "run": lineage["run"], "code": lineage["code"]},
        data=lineage["data"],
        split={**lineage["split"], "fold": "all", "part": "test"},
    )
    cache = open_cache(data_folder(cfg), slices)
    known, names = (
        list(zip(table["path"], table["frame"], strict=True)) for table in (slices, tested)
    )
    row_of = {name: row for row, name in enumerate(known)}
    examples = worst_examples(
        result,
        tested,
        lambda row: np.array(cache[row_of[names[row]]]),
        _explain_by_fold(cfg, slices, split, tested),
    )
    write_result(folder, result, tested, examples, **beside(cfg))
    write_text(folder / "validation-predictions.csv", validated.to_csv(index=False))
    areas = [_macro_auroc(rows, classes) for _, rows in validated.groupby("fold")]
    return Pooled(lineage["run"], result, sum(areas) / len(areas), folder)


def _explain_by_fold(
    cfg: DictConfig, slices: pd.DataFrame, split: dict[str, Any], said: pd.DataFrame
) -> Explain:
    """Return what explains a row of the pooled table: the model of its fold."""

    @cache_results
    def classifier_of(fold: int) -> KidneyClassifier:
        fold_cfg = _of_fold(cfg, fold)
        lineage = lineage_of(fold_cfg, slices, split, validation_folds(fold_cfg, split))
        return load_checkpoint(run_folder(fold_cfg, lineage) / BEST)[0]

    return lambda row, slice_: explain(classifier_of(int(said["fold"].iloc[row])), slice_)


def _macro_auroc(said: pd.DataFrame, classes: list[str]) -> float:
    labels = said["label"].map(classes.index).to_numpy()
    return figures(labels, said[classes].to_numpy(), classes)["macro_auroc"]


def _log(tracking: Tracking, pooled: Pooled) -> None:
    logged = {
        f"pooled_{name}": figure.value
        for name, figure in pooled.result.figures.items()
        if figure.value is not None
    }
    files = [pooled.folder / name for name in (*FILES, "validation-predictions.csv")]
    logged[SELECTION_METRIC] = pooled.val_macro_auroc
    log_result(tracking, pooled.run_id, logged, files)
    end_run(tracking, pooled.run_id)
