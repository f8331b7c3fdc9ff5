"""What a model comes from: carried in its checkpoint, and from there into its card."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig, OmegaConf

from kidney.data.cache import open_thumbnails
from kidney.data.manifest import fingerprint
from kidney.data.split import parts_of, split_fingerprint
from kidney.imaging.appearance import baseline
from kidney.models.backbones import weights_identity
from kidney.pipeline.data_stages import data_folder
from kidney.tracking.code import code_version
from kidney.training.features import features_path


def lineage_of(
    cfg: DictConfig, slices: pd.DataFrame, split: dict[str, Any], validation_folds: Sequence[int]
) -> dict[str, Any]:
    """Return, as plain values, which data, split, weights and code a training starts from.

    `baseline` says what the slices of the training part look like: all but the test part where
    several folds validate in turn.
    """
    return {
        "data": {
            "name": cfg.data.name,
            "source": str(slices["origin"].iloc[0]),
            "fingerprint": fingerprint(slices),
            "slices": len(slices),
            "scans": int(slices["scan"].nunique()),
            "window": cfg.data.read.get("window"),  # of Hounsfield units; None: pictures
        },
        "split": {
            "name": cfg.split.name,
            "fingerprint": split_fingerprint(split),
            "fold": cfg.split.fold,
            "validation_folds": list(validation_folds),
            "folds": split["folds"],
        },
        "baseline": _baseline(cfg, slices, split, validation_folds),
        "weights": weights_identity(cfg.model.backbone, cfg.model.weights),
        "code": code_version(),
    }


def _baseline(
    cfg: DictConfig, slices: pd.DataFrame, split: dict[str, Any], validation_folds: Sequence[int]
) -> dict[str, Any]:
    parts = parts_of(slices, split, cfg.split.fold, validation_folds[0])
    rows = np.flatnonzero(parts == "train" if len(validation_folds) == 1 else parts != "test")
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
        "folds": [lineage["split"][key] for key in ("name", "fold", "validation_folds")],
        "classes": list(cfg.data.classes),
        "numbers": [cfg[key] for key in ("seed", "batch_size", "per_scan", "views")],
        "decisions": OmegaConf.to_container(cfg.decisions),
        "data": lineage["data"]["fingerprint"],
        "split": lineage["split"]["fingerprint"],
        "weights": lineage["weights"],
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:10]


def tags_of(cfg: DictConfig, lineage: dict[str, Any]) -> dict[str, str]:
    """Return the tags by which a run is found again: its data, its split and its code."""
    return {
        "data": lineage["data"]["fingerprint"],
        "split": lineage["split"]["fingerprint"],
        "split_name": cfg.split.name,
        "git_commit": lineage["code"],
    }


def run_folder(cfg: DictConfig, lineage: dict[str, Any]) -> Path:
    """Return where the run of a training lies."""
    return runs_folder(cfg) / f"{cfg.model.backbone}-{job_of(cfg, lineage)}"


def features_of(cfg: DictConfig, lineage: dict[str, Any], view: int) -> Path:
    """Return where what the frozen part of the network makes of the slices is kept."""
    return features_path(
        Path(cfg.workspace) / "cache",
        lineage["data"]["fingerprint"],
        lineage["weights"],
        cfg.model.backbone,
        cfg.model.image_size,
        list(cfg.model.stages),
        cfg.model.trains,
        view,
    )
