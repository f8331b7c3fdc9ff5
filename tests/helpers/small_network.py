"""A network that is small enough to train, save and export within a test."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from timm import create_model

from kidney.models.checkpoint import Hparams
from kidney.models.task import KidneyTask

CLASSES = ["normal", "cyst", "tumor", "stone"]
BACKBONE = "resnet10t"
IMAGE_SIZE = 64
LINEAGE: dict[str, Any] = {
    "data": {
        "name": "none",
        "source": "none",
        "fingerprint": "d",
        "slices": 8,
        "scans": 4,
        "window": None,
    },
    "split": {
        "name": "by_patient",
        "fingerprint": "s",
        "fold": 0,
        "validation_folds": [1],
        "folds": 3,
    },
    "baseline": {},
    "weights": "none",
    "code": "0000000",
    "run": "a-run",
}
RULES: dict[str, Any] = {
    "review_below": 0.5,
    "suspect_from": {"cyst": 0.3, "tumor": 0.2, "stone": 0.3},
    "set_from": {"normal": 0.1, "cyst": 0.1, "tumor": 0.1, "stone": 0.1},
    "ood_above": None,
    "series_from": {},
}
HPARAMS = Hparams(
    backbone=BACKBONE,
    weights="none",
    image_size=IMAGE_SIZE,
    stages=[-1],
    trainable="network",
    learning_rate=1e-3,
    backbone_lr_scale=1.0,
    weight_decay=0.0,
    dropout=0.0,
    classes=CLASSES,
)


def random_slices(count: int, height: int = IMAGE_SIZE, width: int = IMAGE_SIZE) -> torch.Tensor:
    """uint8 (count, 1, height, width), the same in every call."""
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (count, 1, height, width), dtype=torch.uint8, generator=generator)


def small_task(**changes: Any) -> KidneyTask:
    """A task on the small network; the same weights in every call."""
    torch.manual_seed(3)
    return KidneyTask(**{**asdict(HPARAMS), "lineage": LINEAGE, **changes})


def write_checkpoint(task: KidneyTask, path: Path) -> Path:
    """Write what Lightning would, as far as anybody reads it."""
    settings = {**task.hparams, "rules": RULES}
    content = {"hyper_parameters": settings, "state_dict": task.state_dict()}
    torch.save(content, path)
    return path


def write_weights(backbone: str, path: Path) -> Path:
    """Write random weights of a network as timm would save them."""
    torch.manual_seed(11)
    values = create_model(backbone).state_dict()
    save_file({name: value.contiguous() for name, value in values.items()}, path)
    return path
