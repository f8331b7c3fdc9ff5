"""Checkpoint -> figures on a part that it has not seen, as JSON, CSV, pictures and a page."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from omegaconf import DictConfig

from kidney.artifact.decision import Rules
from kidney.data.datamodule import KidneyDataModule
from kidney.errors import ConfigError
from kidney.evaluation.evaluate import evaluate
from kidney.evaluation.report.examples import worst_examples
from kidney.evaluation.result import EvaluationResult
from kidney.files import sha256
from kidney.models.checkpoint import load_checkpoint
from kidney.models.classifier import KidneyClassifier
from kidney.pipeline.examples import explain
from kidney.pipeline.export_parts import data_of
from kidney.pipeline.result_files import FILES, predictions_of, write_result
from kidney.pipeline.select_checkpoint import choose_checkpoint
from kidney.tracking.runs import Tracking, log_result
from kidney.training.memory import keep_freed_memory
from kidney.training.ood_fit import measure_ood, ood_scores
from kidney.training.predict import predict


def evaluate_stage(cfg: DictConfig) -> tuple[EvaluationResult, Path]:
    """Evaluate the chosen checkpoint on the test part of its own split.

    Returns:
        The result, and the folder with the files of `write_result`.

    Raises:
        ArtifactError: the checkpoint was trained on other data or another split, so its test part
            is not known.
    """
    keep_freed_memory()
    chosen = choose_checkpoint(cfg)
    print(f"Evaluating {chosen.checkpoint} because {chosen.reason}", flush=True)
    classifier, settings = load_checkpoint(chosen.checkpoint)
    lineage = settings["lineage"]
    data = data_of(cfg, settings)
    said = test_predictions(classifier, settings, data)
    tested = [np.array(data.cache[row]) for row in data.rows("test")]
    outsiders = {kind: Path(place) for kind, place in cfg.outsiders.items()}
    result = evaluate(
        said,
        settings["classes"],
        model={
            "backbone": settings["backbone"],
            "run": lineage["run"],
            "code": lineage["code"],
            "checkpoint": sha256(chosen.checkpoint),
        },
        data=lineage["data"],
        split={**lineage["split"], "part": "test"},
        rules=settings["rules"],
        ood=measure_ood(
            partial(ood_scores, classifier), said, tested, settings["rules"]["ood_above"], outsiders
        ),
    )
    folder = Path(cfg.artifacts) / "evaluation" / lineage["split"]["name"]
    examples = worst_examples(
        result, said, lambda row: tested[row], lambda _, slice_: explain(classifier, slice_)
    )
    write_result(folder, result, said, examples, **beside(cfg))
    _log(cfg, result, folder)
    return result, folder


def beside(cfg: DictConfig) -> dict[str, EvaluationResult | None]:
    """Read the results that a report shows beside its own: of `beside.random` and `.external`.

    Raises:
        ConfigError: such a file is not there or no metrics.json.
    """
    found: dict[str, EvaluationResult | None] = {}
    for name, path in cfg.beside.items():
        try:
            found[name] = EvaluationResult.read_file(Path(path)) if path else None
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"Expected beside.{name} to be the metrics.json of an evaluation, but: {error}.",
                "Name the file of a finished evaluation, or leave it null.",
            ) from error
    return found


def test_predictions(
    classifier: KidneyClassifier, settings: dict[str, Any], data: KidneyDataModule
) -> pd.DataFrame:
    """Return what a classifier says and decides of the test part, as predictions.csv has it.

    Args:
        classifier: the classifier.
        settings: its checkpoint's.
        data: after its setup, with images or with features.
    """
    slices = data.slices.iloc[data.rows("test")]
    raw = predict(classifier, data.test_dataloader())
    scaled = torch.from_numpy(raw.logits) / classifier.temperature.cpu()
    probabilities = scaled.softmax(dim=1).numpy()
    rules = Rules(**settings["rules"])
    return predictions_of(
        slices, settings["classes"], probabilities, raw.logits, rules, raw.ood_scores
    )


def _log(cfg: DictConfig, result: EvaluationResult, folder: Path) -> None:
    tracking = Tracking(cfg.tracking.uri, cfg.tracking.experiment)
    figures = {
        f"test_{name}": figure.value
        for name, figure in result.figures.items()
        if figure.value is not None
    }
    files = [folder / name for name in FILES]
    log_result(tracking, result.model.run, figures, files)
