"""The parts of the split that a checkpoint was trained on, for all that comes after training."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from kidney.artifact.decision import Rules
from kidney.data.datamodule import KidneyDataModule
from kidney.data.manifest import fingerprint
from kidney.data.split import read_split, split_fingerprint
from kidney.errors import ArtifactError
from kidney.evaluation.evaluate import evaluate
from kidney.models.checkpoint import load_checkpoint
from kidney.models.prepare import prepare
from kidney.pipeline.data_stages import data_folder
from kidney.pipeline.result_files import predictions_of

_A_SCAN = 4  # slices that stand for it where not all are needed
_TRAINING = 64  # slices on which the ranges of activations are measured


def data_of(cfg: DictConfig, settings: dict[str, Any]) -> KidneyDataModule:
    """Return the data that a checkpoint was trained on, dealt as then.

    Args:
        cfg: the whole configuration.
        settings: of the checkpoint.

    Raises:
        ArtifactError: data or split are others by now, so its test part is not known.
    """
    lineage = settings["lineage"]
    data = KidneyDataModule(
        folder=data_folder(cfg),
        classes=settings["classes"],
        split=lineage["split"]["name"],
        fold=lineage["split"]["fold"],
        validation_fold=lineage["split"]["validation_folds"][0],
        prepare=partial(prepare, size=settings["image_size"]),
        batch_size=cfg.batch_size,
        workers=cfg.workers,
        seed=cfg.seed,
        per_scan=cfg.per_scan,
    )
    data.setup()
    split = read_split(data.folder, data.split, data.slices)
    now = (fingerprint(data.slices), split_fingerprint(split))
    then = (lineage["data"]["fingerprint"], lineage["split"]["fingerprint"])
    if now != then:
        raise ArtifactError(
            f"Expected the data and split that the checkpoint was trained with {then}, but "
            f"{data.folder} has {now}: slices of its training could be in this test part.",
            "Evaluate on the data folder of the training, or train again.",
        )
    return data


FiguresOf = Callable[[Sequence[Any]], dict[str, Any]]


class Part(NamedTuple):
    """Slices (H, W) uint8, and the true class index of each, int64."""

    slices: list[NDArray[np.uint8]]
    labels: NDArray[np.int64]


class Parts(NamedTuple):
    """What an export is verified, fitted and judged on."""

    validation: Part  # a few of each scan and of each size
    training: Part  # a few of each scan
    test: Part


def material_of(cfg: DictConfig, checkpoint: Path) -> tuple[Parts, FiguresOf]:
    """Return what the export of a checkpoint is judged on, and what evaluates its answers.

    The slices are views of the slice cache. The second takes answers of a predictor to the test
    part and returns their evaluation, as far as a card tells it.

    Raises:
        KidneyError: the checkpoint cannot be read, or was trained on other data.
    """
    _, settings = load_checkpoint(checkpoint)
    data = data_of(cfg, settings)
    return _parts(data), _figures_of(settings, data)


def _parts(data: KidneyDataModule) -> Parts:

    def part(rows: NDArray[np.int64]) -> Part:
        return Part([data.cache[int(row)] for row in rows], data.labels[rows])

    def few(name: str) -> NDArray[np.int64]:
        rows = np.random.default_rng(0).permutation(data.rows(name))
        keys = ["scan", "height", "width"]
        return rows[data.slices.iloc[rows].groupby(keys).cumcount().to_numpy() < _A_SCAN]

    return Parts(part(few("val")), part(few("train")[:_TRAINING]), part(data.rows("test")))


def _figures_of(settings: dict[str, Any], data: KidneyDataModule) -> FiguresOf:
    slices = data.slices.iloc[data.rows("test")]
    split = {**settings["lineage"]["split"], "part": "test"}

    def figures_of(answers: Sequence[Any]) -> dict[str, Any]:
        scored = answers[0].ood_score is not None
        said = predictions_of(
            slices,
            settings["classes"],
            np.stack([answer.probabilities for answer in answers]),
            np.stack([answer.logits for answer in answers]),
            Rules(**settings["rules"]),
            np.array([answer.ood_score for answer in answers]) if scored else None,
        )
        model = {"backbone": settings["backbone"], "run": settings["lineage"]["run"]}
        data = settings["lineage"]["data"]
        result = evaluate(said, settings["classes"], model=model, data=data, split=split)
        return result.of_card()

    return figures_of
