"""Evaluate a checkpoint on its own test part, or an artifact on slices from elsewhere."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig
from tqdm import tqdm

from kidney.artifact.card import ModelCard
from kidney.data.cache import open_cache
from kidney.data.ingest import ingest
from kidney.errors import ConfigError
from kidney.evaluation.evaluate import evaluate
from kidney.evaluation.predictions import FILES, predictions_of, write_result
from kidney.evaluation.report.page import worst_examples
from kidney.evaluation.result import EvaluationResult
from kidney.files import sha256
from kidney.models.checkpoint import load_checkpoint
from kidney.models.classifier import explain
from kidney.pipeline.checkpoints import choose_checkpoint, datamodule_of
from kidney.pipeline.data_stages import origin_of
from kidney.pipeline.entry import tracking_of, workspace_of
from kidney.tracking.runs import log_figures
from kidney.training.calibrate import measure_ood, ood_scores, predict_test_part
from kidney.training.fit import keep_freed_memory
from kidney.training.spec import model_of

_BATCH = 32

# Slices (H, W) -> probabilities and logits (N, K), and ood_scores (N,), NaN where there is none.
Predict = Callable[[Sequence[NDArray[np.uint8]]], tuple[NDArray[np.floating], ...]]


def evaluate_checkpoint(cfg: DictConfig) -> tuple[EvaluationResult, Path]:
    """Evaluate the chosen checkpoint on the test part of its own split.

    Raises:
        ArtifactError: the checkpoint was trained on other data or another split, so its test part
            is not known.
    """
    keep_freed_memory()
    chosen = choose_checkpoint(cfg)
    print(f"Evaluating {chosen.checkpoint} because {chosen.reason}", flush=True)
    checkpoint = load_checkpoint(chosen.checkpoint)
    classifier, lineage, rules = checkpoint.classifier, checkpoint.lineage, checkpoint.rules
    assert rules.ood_above is not None  # training fits every model's score
    data = datamodule_of(cfg, checkpoint)
    predictions = predict_test_part(checkpoint, data)
    tested = [np.array(data.cache[row]) for row in data.rows("test")]
    ood_sets = {kind: Path(path) for kind, path in cfg.ood_sets.items()}
    model = model_of(lineage, checkpoint.hparams.backbone)
    result = evaluate(
        predictions,
        checkpoint.hparams.classes,
        model={**model, "checkpoint": sha256(chosen.checkpoint)},
        data=asdict(lineage.data),
        split={**asdict(lineage.split), "part": "test"},
        rules=asdict(rules),
        ood=measure_ood(
            partial(ood_scores, classifier), predictions, tested, rules.ood_above, ood_sets
        ),
    )
    examples = worst_examples(
        result, predictions, lambda row: tested[row], lambda _, slice_: explain(classifier, slice_)
    )
    folder = workspace_of(cfg).evaluation(lineage.split.name)
    write_result(folder, result, predictions, examples, **comparisons(cfg))
    files = [folder / name for name in FILES]
    log_figures(tracking_of(cfg), lineage.run, "test", result.figures, files)
    return result, folder


def comparisons(cfg: DictConfig) -> dict[str, EvaluationResult | None]:
    """Read the results that a report shows beside its own: `compare.random` and `.external`.

    Raises:
        ConfigError: such a file is not there or no metrics.json.
    """
    found: dict[str, EvaluationResult | None] = {}
    for name, path in cfg.compare.items():
        try:
            found[name] = EvaluationResult.read_file(Path(path)) if path else None
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"Expected compare.{name} to be the metrics.json of an evaluation, but: {error}.",
                "Name the file of a finished evaluation, or leave it null.",
            ) from error
    return found


def evaluate_external(
    cfg: DictConfig, card: ModelCard, predict: Predict
) -> tuple[EvaluationResult, Path]:
    """Evaluate an artifact on data.source, labelled by its class folders or by data.labels.

    Args:
        cfg: the whole configuration; of `data` the source, the reader and the labels count.

    Raises:
        ConfigError: no source is named.
        DataError: nothing there can be read, or labels are not among the artifact's classes.
    """
    if cfg.data.source == cfg.data.default_source and "source" in cfg.data.fetch:
        raise ConfigError(
            "Expected slices to try the artifact on, but data.source is not given.",
            "Give a folder or an archive: data.source=PATH, and data.labels=FILE.csv (file, label, "
            "scan) where it has no class folders.",
        )
    origin = origin_of(cfg)
    # A folder of its own: the data set that was trained on stays as it is.
    data = workspace_of(cfg).data(f"external-{Path(origin).name}")
    slices = ingest(
        data,
        fetch=instantiate(cfg.data.fetch, _partial_=True),
        read=instantiate(cfg.data.read, _partial_=True, _convert_="all"),
        origin=origin,
        classes=card.classes,
        corrections=cfg.data.labels,
    )
    cache = open_cache(data, slices)
    starts = tqdm(range(0, len(slices), _BATCH), desc="Predict", unit="batch")
    batches = [
        predict([cache[row] for row in range(s, min(s + _BATCH, len(slices)))]) for s in starts
    ]
    probabilities, logits, scores = map(np.concatenate, zip(*batches, strict=True))
    predictions = predictions_of(
        slices, card.classes, probabilities, logits, card.rules,
        None if np.isnan(scores).all() else scores,
    )  # fmt: skip
    result = evaluate(
        predictions,
        card.classes,
        model={"backbone": card.backbone, "run": card.run, "code": card.code},
        data={"name": origin, "slices": len(slices), "scans": int(slices["scan"].nunique())},
        split={"name": "external", "fold": "all", "folds": 1, "part": origin},
    )
    folder = workspace_of(cfg).evaluation(data.name)
    write_result(folder, result, predictions)
    return result, folder
