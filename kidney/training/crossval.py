"""Cross-validation: every fold trained, the predictions of all test parts evaluated together."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache as cache_results
from pathlib import Path

import numpy as np
import pandas as pd

from kidney.data.cache import open_cache
from kidney.evaluation.evaluate import evaluate
from kidney.evaluation.metrics.classification import labels_of, macro_auroc
from kidney.evaluation.predictions import FILES, read_predictions, write_result
from kidney.evaluation.report.page import Explain, worst_examples
from kidney.evaluation.result import EvaluationResult
from kidney.files import write_text
from kidney.models.checkpoint import Lineage, load_checkpoint
from kidney.models.classifier import KidneyClassifier, explain
from kidney.tracking.runs import (
    CHECKPOINT,
    CROSS_VALIDATION,
    SELECTION_METRIC,
    can_resume,
    log_figures,
    log_result,
    tracked_run,
)
from kidney.training.calibrate import predict_test_part
from kidney.training.ensemble import train
from kidney.training.spec import TrainingSpec, model_of, tags_of


@dataclass(frozen=True)
class Pooled:
    """What a cross-validation leaves behind."""

    run_id: str  # the parent of the folds' runs
    result: EvaluationResult  # figures of the pooled test parts, as `evaluate` gives them
    # mean over the folds of that on their validation slices; hyperparameters are chosen by it
    val_macro_auroc: float
    # with report.html, metrics.json, predictions.csv of the test parts and validation-
    # predictions.csv
    folder: Path


def cross_validate(
    spec: TrainingSpec,
    parent: str | None = None,
    name: str = "",
    compare: Mapping[str, EvaluationResult | None] | None = None,
) -> Pooled:
    """Train all folds of the split and evaluate the pooled predictions of their test parts.

    Each slice is tested once, by the model of the fold that has not seen its patient. A run that
    was killed goes on with the fold that it was at.

    Args:
        spec: the training; its `fold` is not read.
        name: of its tracking run; that of its folder by default.
        compare: results that the report shows beside its own; see `write_result`.
    """
    first = spec.with_fold(0)
    lineage = first.lineage()
    folder = spec.workspace.runs / f"cv-{spec.hparams.backbone}-{first.job(lineage)}"
    resumes = any(folder.glob("fold-*.csv")) and can_resume(spec.tracking, folder)
    if resumes:
        print(f"Resuming {folder}: this cross-validation was cut off", flush=True)
    tags = {"kind": CROSS_VALIDATION, "fold": "all", **tags_of(lineage)}
    parameters = {
        key: value
        for key, value in spec.parameters.items()
        if key.startswith("model.") or key == "seed"
    }
    with tracked_run(
        spec.tracking, folder, tags, name=name, parent=parent, parameters=parameters, resume=resumes
    ) as run_id:
        tables = []
        for fold in range(spec.split.folds):
            file = folder / f"fold-{fold}.csv"
            if not file.is_file():
                print(f"Fold {fold} of {spec.split.folds}", flush=True)
                predictions = _fold_predictions(spec.with_fold(fold), run_id)
                write_text(file, predictions.to_csv(index=False))
            tables.append(read_predictions(file))
        lineage = replace(lineage, run=run_id)
        pooled = _pool(spec, pd.concat(tables), lineage, folder, compare or {})
        files = [folder / name for name in (*FILES, "validation-predictions.csv")]
        log_figures(spec.tracking, run_id, "pooled", pooled.result.figures, files)
        log_result(spec.tracking, run_id, {SELECTION_METRIC: pooled.val_macro_auroc}, [])
    for file in folder.glob("fold-*.csv"):  # done: the same command starts anew
        file.unlink()
    return pooled


def _fold_predictions(spec: TrainingSpec, parent: str) -> pd.DataFrame:
    """Train one fold and return the predictions for its validation and its test slices."""
    trained = train(spec, parent)
    checkpoint = load_checkpoint(trained.checkpoint)
    validation_fold = checkpoint.lineage.split.validation_folds[0]
    data = spec.datamodule_with_features(validation_fold, checkpoint.lineage)
    tested = predict_test_part(checkpoint, data)
    parts = [trained.validation.assign(part="val"), tested.assign(part="test")]
    return pd.concat(parts).assign(fold=spec.fold)


def _pool(
    spec: TrainingSpec,
    predictions: pd.DataFrame,
    lineage: Lineage,
    folder: Path,
    compare: Mapping[str, EvaluationResult | None],
) -> Pooled:
    classes = list(spec.hparams.classes)
    tested = predictions[predictions["part"] == "test"].reset_index(drop=True)
    validated = predictions[predictions["part"] == "val"]
    result = evaluate(
        tested,
        classes,
        model=model_of(lineage, spec.hparams.backbone),
        data=asdict(lineage.data),
        split={**asdict(lineage.split), "fold": "all", "part": "test"},
    )
    cache = open_cache(spec.folder, spec.slices)
    known, names = (
        list(zip(table["path"], table["frame"], strict=True)) for table in (spec.slices, tested)
    )
    row_of = {name: row for row, name in enumerate(known)}
    examples = worst_examples(
        result,
        tested,
        lambda row: np.array(cache[row_of[names[row]]]),
        _explain_by_fold(spec, tested),
    )
    write_result(folder, result, tested, examples, **compare)
    write_text(folder / "validation-predictions.csv", validated.to_csv(index=False))
    areas = [
        macro_auroc(labels_of(rows, classes), rows[classes].to_numpy())
        for _, rows in validated.groupby("fold")
    ]
    return Pooled(lineage.run, result, sum(areas) / len(areas), folder)


def _explain_by_fold(spec: TrainingSpec, predictions: pd.DataFrame) -> Explain:
    """Return what explains a row of the pooled table: the model of its fold."""

    @cache_results
    def classifier_of(fold: int) -> KidneyClassifier:
        own = spec.with_fold(fold)
        return load_checkpoint(own.run_folder(own.lineage()) / CHECKPOINT).classifier

    return lambda row, slice_: explain(classifier_of(int(predictions["fold"].iloc[row])), slice_)
