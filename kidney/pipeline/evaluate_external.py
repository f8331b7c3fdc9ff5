"""An exported artifact on slices from elsewhere: what somebody else would see of it."""

from collections.abc import Callable, Sequence
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
from kidney.evaluation.result import EvaluationResult
from kidney.pipeline.data_stages import origin_of
from kidney.pipeline.result_files import predictions_of, write_result

_AT_ONCE = 32

# Slices (H, W) -> probabilities and logits (N, K), and ood_scores (N,), NaN where there is none.
Predict = Callable[[Sequence[NDArray[np.uint8]]], tuple[NDArray[np.floating], ...]]


def evaluate_external(
    cfg: DictConfig, card: ModelCard, predict: Predict
) -> tuple[EvaluationResult, Path]:
    """Evaluate an artifact on data.source, labelled by its class folders or by data.labels.

    Args:
        cfg: the whole configuration; of `data` the source, the reader and the labels count.
        card: of the artifact.
        predict: the artifact at work; classes are in the order of the card.

    Returns:
        The result, and the folder with metrics.json, report.html and predictions.csv.

    Raises:
        ConfigError: no source is named.
        DataError: nothing there can be read, or labels are not among the artifact's classes.
    """
    if cfg.data.source == cfg.data.default_source:
        raise ConfigError(
            "Expected slices to try the artifact on, but data.source is not given.",
            "Give a folder or an archive: data.source=PATH, and data.labels=FILE.csv (file, label, "
            "scan) where it has no class folders.",
        )
    origin = origin_of(cfg)
    # A folder of its own: the data set that was trained on stays as it is.
    data = Path(cfg.workspace) / "data" / f"external-{Path(origin).name}"
    slices = ingest(
        data,
        fetch=instantiate(cfg.data.fetch, _partial_=True),
        read=instantiate(cfg.data.read, _partial_=True, _convert_="all"),
        origin=origin,
        classes=card.classes,
        corrections=cfg.data.labels,
    )
    cache = open_cache(data, slices)
    starts = tqdm(range(0, len(slices), _AT_ONCE), desc="Predict", unit="batch")
    batches = [
        predict([cache[row] for row in range(s, min(s + _AT_ONCE, len(slices)))]) for s in starts
    ]
    probabilities, logits, scores = map(np.concatenate, zip(*batches, strict=True))
    said = predictions_of(
        slices, card.classes, probabilities, logits, card.rules,
        None if np.isnan(scores).all() else scores,
    )  # fmt: skip
    result = evaluate(
        said,
        card.classes,
        model={"backbone": card.backbone, "run": card.run, "code": card.code},
        data={"name": origin, "slices": len(slices), "scans": int(slices["scan"].nunique())},
        split={"name": "external", "fold": "all", "folds": 1, "part": origin},
    )
    folder = Path(cfg.artifacts) / "evaluation" / data.name
    write_result(folder, result, said)
    return result, folder
