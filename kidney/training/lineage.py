"""What a model comes from: carried in its checkpoint, and from there into its card."""

from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from kidney.data.cache import open_thumbnails
from kidney.data.manifest import fingerprint
from kidney.data.split import parts_of, split_fingerprint
from kidney.imaging.baseline import baseline
from kidney.models.backbones import weights_identity
from kidney.tracking.code import code_version
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
            "validation_fold": cfg.split.validation_fold,
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
