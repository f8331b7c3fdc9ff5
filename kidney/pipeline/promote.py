"""The promotion gate: artifact and evaluation -> registered version -> verdict -> champion."""

import dataclasses
import hashlib
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from omegaconf import DictConfig

from kidney.artifact.card import ModelCard
from kidney.errors import ArtifactError
from kidney.evaluation.predictions import read_predictions
from kidney.evaluation.promotion import SLICE, EvaluationRecord, Verdict, judge, macro_auroc_of
from kidney.evaluation.result import EvaluationResult
from kidney.files import sha256
from kidney.pipeline.entry import tracking_of, workspace_of
from kidney.tracking.registry import (
    WITHDRAWN,
    Version,
    champion,
    download_evaluation,
    record_verdict,
    register,
    roll_back,
    set_champion,
    withdrawn,
)
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


def promote(cfg: DictConfig, artifact: Path, card: ModelCard) -> str:
    """Register the artifact, and make it the champion where the gate lets it through.

    Interrupted, it leaves at most a version without an alias, which the same command takes up
    again.

    Raises:
        ArtifactError: it does not become the champion; the message says why.
    """
    tracking, name = tracking_of(cfg), str(cfg.registry.name)
    with TemporaryDirectory() as temporary:
        after, before = Path(temporary, "challenger"), Path(temporary, "champion")
        challenger, files = _challenger_record(cfg, tracking, card, after)
        tags = _identity(artifact, card, challenger.result, files)
        version = register(tracking, name, artifact, files, tags)
        best = champion(tracking, name)
        if best and best.number == version.number:
            return f"Version {version.number} of {name} is the champion already."
        _refuse_withdrawn(tracking, name, version)
        known = _champion_record(cfg, tracking, best, before) if best else None
    verdict = judge(
        known, challenger, cfg.registry.max_ece_rise, cfg.registry.max_localisation_fall
    )
    record_verdict(tracking, name, version, _as_tags(verdict, best))
    reasons = "".join(f"\n  {reason}" for reason in verdict.reasons)
    stays = f"version {best.number}" if best else "none"
    if not verdict.promote:
        raise ArtifactError(
            f"Version {version.number} of {name} is not promoted, the champion stays {stays}:"
            + reasons,
            "Improve on what it says and try again; the verdict is kept with the version.",
        )
    set_champion(tracking, name, version, instead_of=best)
    return f"Version {version.number} of {name} is the champion now, instead of {stays}:{reasons}"


def roll_back_champion(cfg: DictConfig) -> str:
    """Make the previous champion the champion again, and say so.

    Raises:
        ArtifactError: there is none.
    """
    name = str(cfg.registry.name)
    now, before = roll_back(tracking_of(cfg), name)
    return (
        f"Version {now.number} of {name} is the champion again; version {before.number} is "
        "withdrawn and will not be promoted any more."
    )


def _identity(
    artifact: Path, card: ModelCard, result: EvaluationResult, files: list[Path]
) -> dict[str, str]:
    evaluation = hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()
    return {
        "sha256": sha256(artifact),
        "run": card.run,
        "code": card.code,
        "evaluation": evaluation,
        "evaluation_run": result.model.run,
        "data": str(result.data.fingerprint),
        "split": str(result.split.fingerprint),
        "split_name": result.split.name,
        "fold": str(result.split.fold),
    }


def _as_tags(verdict: Verdict, best: Version | None) -> dict[str, str]:
    return {
        "verdict": "promote" if verdict.promote else "keep the champion",
        "reasons": "\n".join(verdict.reasons),
        "judged_against": str(best.number) if best else "none",
        "judged": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _refuse_withdrawn(tracking: Tracking, name: str, version: Version) -> None:
    if when := withdrawn(tracking, name, version):
        raise ArtifactError(
            f"The artifact of version {version.number} of {name} was champion and was withdrawn "
            f"at {when}; it is not promoted again.",
            f"Train another, or take the tag {WITHDRAWN!r} off if that was a mistake.",
        )


def _challenger_record(
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
        found = workspace_of(cfg).evaluation(cfg.split.name)
    record = _read_record(found)
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


def _champion_record(
    cfg: DictConfig, tracking: Tracking, best: Version, folder: Path
) -> EvaluationRecord:
    """Return what is known of the champion: what it was judged by, fetched into `folder`.

    Where data or folds have changed since, registry.champion_evaluation stands for it: the
    evaluation of a model that was trained with the champion's settings on what is there now.

    Raises:
        ArtifactError: it is gone, or what stands for it was trained with other settings.
    """
    if not cfg.registry.champion_evaluation:
        return _read_record(download_evaluation(tracking, best, folder))
    record = _read_record(Path(cfg.registry.champion_evaluation))
    run = record.result.model.run
    if unlike := unlike_settings(tracking, best.tags["run"], run):
        raise ArtifactError(
            f"Expected registry.champion_evaluation to be of a model with the settings of the "
            f"champion, version {best.number}, but run {run} has another {' and '.join(unlike)}.",
            "Train and evaluate with the champion's settings; its run's config.yaml has them.",
        )
    return record


def _read_record(folder: Path) -> EvaluationRecord:
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
        found = macro_auroc_of(record)
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
