"""What a model comes from: carried in its checkpoint, and from there into its card."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig, OmegaConf

from kidney.data.cache import open_thumbnails
from kidney.data.manifest import fingerprint
from kidney.data.split import parts_of, split_fingerprint, validation_fold_of
from kidney.imaging.baseline import baseline
from kidney.models.backbones import weights_identity
from kidney.tracking.code import code_version
from kidney.training.features import features_path
from kidney.training.stages import data_folder


def lineage_of(cfg: DictConfig, slices: pd.DataFrame, split: dict[str, Any]) -> dict[str, Any]:
    """Return, as plain values, which data, split, weights and code a training starts from.

    `baseline` says what the slices of the training part look like.
    """
    return {
        "data": {
            "name": cfg.data.name,
            "source": str(slices["origin"].iloc[0]),
            "fingerprint": fingerprint(slices),
            "slices": len(slices),
            "scans": int(slices["scan"].nunique()),
        },
        "split": {
            "name": cfg.split.name,
            "fingerprint": split_fingerprint(split),
            "fold": cfg.split.fold,
            "validation_fold": validation_fold_of(split, cfg.split.fold, cfg.split.validation_fold),
            "folds": split["folds"],
        },
        "baseline": _baseline(cfg, slices, split),
        "weights": weights_identity(cfg.model.backbone, cfg.model.weights),
        "code": code_version(),
    }


def _baseline(cfg: DictConfig, slices: pd.DataFrame, split: dict[str, Any]) -> dict[str, Any]:
    parts = parts_of(slices, split, cfg.split.fold, cfg.split.validation_fold)
    rows = np.flatnonzero(parts == "train")
    shapes = slices[["height", "width"]].to_numpy()[rows].tolist()
    return baseline(open_thumbnails(data_folder(cfg), slices)[rows], shapes)


def runs_folder(cfg: DictConfig) -> Path:
    """Return where the runs of a workspace lie; the training may change its working folder."""
    return Path(cfg.workspace).absolute() / "runs"


def job_of(cfg: DictConfig, lineage: dict[str, Any]) -> str:
    """Return 10 hexadecimal digits of all that decides the result of a training."""
    decides = {
        "settings": [
            OmegaConf.to_container(cfg[key], resolve=True) for key in ("model", "trainer")
        ],
        "folds": [lineage["split"][key] for key in ("name", "fold", "validation_fold")],
        "classes": list(cfg.data.classes),
        "numbers": [cfg.seed, cfg.batch_size, cfg.patience],
        "data": lineage["data"]["fingerprint"],
        "split": lineage["split"]["fingerprint"],
        "weights": lineage["weights"],
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:10]


def features_of(cfg: DictConfig, lineage: dict[str, Any]) -> Path:
    """Return where the features of the frozen backbone are kept."""
    return features_path(
        Path(cfg.workspace) / "cache",
        lineage["data"]["fingerprint"],
        lineage["weights"],
        cfg.model.backbone,
        cfg.model.image_size,
    )
