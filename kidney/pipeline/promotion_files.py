"""What a promotion is decided by: an evaluation's files, found, read and checked."""

import dataclasses
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from kidney.artifact.card import ModelCard
from kidney.errors import ArtifactError
from kidney.evaluation.evaluation_record import SLICE, EvaluationRecord, macro_auroc
from kidney.evaluation.result import EvaluationResult
from kidney.pipeline.result_files import read_predictions
from kidney.tracking.registry import Version, download_evaluation
from kidney.tracking.runs import (
    Tracking,
    cross_validation_of,
    download_files,
    unlike_settings,
)

PREDICTIONS, METRICS, LOCATED = "predictions.csv", "metrics.json", "localisation.csv"
FILES = (PREDICTIONS, METRICS, LOCATED)
_AS_WRITTEN = 1e-6  # figures are written with all their digits
_RUN = (
    "Run python train.py experiment=cv or python scripts/evaluate.py, then name the folder: "
    "registry.evaluation=FOLDER."
)


def challenger_record(
    cfg: DictConfig, tracking: Tracking, card: ModelCard, folder: Path
) -> tuple[EvaluationRecord, list[Path]]:
    """Return what an artifact is judged by, and the files that it was read from.

    The evaluation that is named; else the cross-validation that its run is a fold of, fetched into
    `folder`; else that of its own test part. Where it has no localisation.csv, that of the run.

    Raises:
        ArtifactError: it is of another model.
    """
    pooled = cross_validation_of(tracking, card.run)
    if cfg.registry.evaluation:
        found = Path(cfg.registry.evaluation)
    elif pooled:
        download_files(tracking, pooled, FILES, folder)
        found = folder
    else:
        found = Path(cfg.artifacts, "evaluation", cfg.split.name)
    record = read_record(found)
    run, data = record.result.model.run, record.result.data.fingerprint
    if run not in (card.run, pooled) or data != card.data.fingerprint:
        raise ArtifactError(
            f"Expected an evaluation of run {card.run} on data {card.data.fingerprint}, or of "
            f"the cross-validation that it is a fold of ({pooled or 'none'}), but {found} is of "
            f"run {run} on data {data}.",
            _RUN,
        )
    if record.located is None:  # it is measured of one model and not of all folds
        download_files(tracking, card.run, [LOCATED], folder)
        record = dataclasses.replace(record, located=_read_located(folder))
    files = [place / name for name in FILES for place in (found, folder)]
    return record, [*dict.fromkeys(file for file in files if file.is_file())]


def champion_record(
    cfg: DictConfig, tracking: Tracking, best: Version, folder: Path
) -> EvaluationRecord:
    """Return what is known of the champion: what it was judged by, fetched into `folder`.

    Where data or folds have changed since, registry.champion_evaluation stands for it: the
    evaluation of a model that was trained with the champion's settings on what is there now.

    Raises:
        ArtifactError: it is gone, or what stands for it was trained with other settings.
    """
    if not cfg.registry.champion_evaluation:
        return read_record(download_evaluation(tracking, best, folder))
    record = read_record(Path(cfg.registry.champion_evaluation))
    run = record.result.model.run
    if unlike := unlike_settings(tracking, best.tags["run"], run):
        raise ArtifactError(
            f"Expected registry.champion_evaluation to be of a model with the settings of the "
            f"champion, version {best.number}, but run {run} has another {' and '.join(unlike)}.",
            "Train and evaluate with the champion's settings; its run's config.yaml has them.",
        )
    return record


def read_record(folder: Path) -> EvaluationRecord:
    """Read metrics.json, predictions.csv and, where it is there, localisation.csv.

    Raises:
        ArtifactError: a file is missing or not readable, or they are not of one evaluation.
    """
    try:
        result = EvaluationResult.read_file(folder / METRICS)
        needed = ["label", "patient", *result.classes]
        predictions = _read_table(folder / PREDICTIONS, needed)
        record = EvaluationRecord(predictions, result, _read_located(folder))
        slices, written = result.slices, result.figures["macro_auroc"].value
        found = macro_auroc(record)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"Expected {METRICS} and {PREDICTIONS} of an evaluation in {folder}, but: {error!r}.",
            _RUN,
        ) from error
    if len(predictions) != slices or (
        written is not None and not abs(written - found) < _AS_WRITTEN
    ):
        raise ArtifactError(
            f"Expected {METRICS} and {PREDICTIONS} in {folder} to be of one evaluation, but the "
            f"first has macro AUROC {written} of {slices} slices, the second {found} of "
            f"{len(predictions)}.",
            _RUN,
        )
    return record


def _read_located(folder: Path) -> pd.DataFrame | None:
    path = folder / LOCATED
    return _read_table(path, ["patient", "peak_inside"]) if path.is_file() else None


def _read_table(path: Path, needed: list[str]) -> pd.DataFrame:
    table = read_predictions(path)
    if missing := [column for column in (*SLICE, *needed) if column not in table]:
        raise ValueError(f"{path.name} misses {missing}")
    return table
