"""Checkpoint -> figures on a part that it has not seen, as JSON, CSV, pictures and a page."""

from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kidney.data.datamodule import KidneyDataModule
from kidney.data.manifest import fingerprint
from kidney.data.split import read_split, split_fingerprint
from kidney.errors import ArtifactError
from kidney.evaluation.report import evaluate
from kidney.files import sha256
from kidney.models.checkpoint import load_checkpoint
from kidney.models.classifier import resize
from kidney.tracking.runs import Tracking, log_result
from kidney.training.memory import keep_freed_memory
from kidney.training.predict import predict
from kidney.training.results import FILES, predictions_of, write_result
from kidney.training.select import choose_checkpoint
from kidney.training.stages import data_folder


def evaluate_stage(cfg: DictConfig) -> tuple[dict[str, Any], Path]:
    """Evaluate the chosen checkpoint on the test part of its own split.

    Returns:
        The result, and the folder with metrics.json, report.html and predictions.csv.

    Raises:
        ArtifactError: the checkpoint was trained on other data or another split, so its test part
            is not known.
    """
    keep_freed_memory()
    chosen = choose_checkpoint(cfg)
    print(f"Evaluating {chosen.checkpoint} because {chosen.reason}", flush=True)
    classifier, settings = load_checkpoint(chosen.checkpoint)
    lineage = settings["lineage"]
    data = KidneyDataModule(
        folder=data_folder(cfg),
        classes=settings["classes"],
        split=lineage["split"]["name"],
        fold=lineage["split"]["fold"],
        validation_fold=lineage["split"].get("validation_fold"),
        resize=partial(resize, size=settings["image_size"]),
        batch_size=cfg.batch_size,
        workers=cfg.workers,
        seed=cfg.seed,
    )
    data.setup()
    _check_lineage(data, lineage)
    rows = data.rows("test")
    slices = data.slices.iloc[rows]
    probabilities = predict(classifier, data.test_dataloader())
    labels = data.labels[rows]
    result = {
        "model": {
            "backbone": settings["backbone"],
            "run": lineage["run"],
            "code": lineage["code"],
            "checkpoint": sha256(chosen.checkpoint),
        },
        "data": lineage["data"],
        "split": {**lineage["split"], "part": "test"},
        **evaluate(labels, probabilities, slices["patient"].to_numpy(), settings["classes"]),
    }
    folder = Path(cfg.artifacts) / "evaluation" / lineage["split"]["name"]
    write_result(folder, result, predictions_of(slices, settings["classes"], probabilities))
    _log(cfg, result, folder)
    return result, folder


def _check_lineage(data: KidneyDataModule, lineage: dict[str, Any]) -> None:
    split = read_split(data.folder, data.split, data.slices)
    now = (fingerprint(data.slices), split_fingerprint(split))
    then = (lineage["data"]["fingerprint"], lineage["split"]["fingerprint"])
    if now != then:
        raise ArtifactError(
            f"Expected the data and split that the checkpoint was trained with {then}, but "
            f"{data.folder} has {now}: slices of its training could be in this test part.",
            "Evaluate on the data folder of the training, or train again.",
        )


def _log(cfg: DictConfig, result: dict[str, Any], folder: Path) -> None:
    tracking = Tracking(cfg.tracking.uri, cfg.tracking.experiment)
    figures = {
        f"test_{name}": figure["value"]
        for name, figure in result["figures"].items()
        if figure["value"] is not None
    }
    files = [folder / name for name in FILES]
    log_result(tracking, result["model"]["run"], figures, files)
