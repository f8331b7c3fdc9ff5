"""The stations before training, wired from the configuration; no torch is needed for them."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from kidney.data.cache import open_cache
from kidney.data.ingest import ingest
from kidney.data.manifest import fingerprint, read_manifest, read_rejected
from kidney.data.split import read_split, split_path, write_split
from kidney.data.validate import contact_sheet, findings, report_page, summary
from kidney.errors import DataError
from kidney.files import write_text


def data_folder(cfg: DictConfig) -> Path:
    """Return where the chosen data set lies."""
    return Path(cfg.workspace, "data", cfg.data.name)


def ingest_stage(cfg: DictConfig) -> pd.DataFrame:
    """Fetch the source and write the manifest."""
    return ingest(
        data_folder(cfg),
        fetch=instantiate(cfg.data.fetch, _partial_=True),
        origin=_origin(cfg),
        classes=OmegaConf.to_container(cfg.data.classes),  # type: ignore[arg-type]
        ignore=list(cfg.data.ignore),
    )


def validate_stage(cfg: DictConfig) -> list[str]:
    """Write validation.html and validation.json; return what failed, a line each."""
    folder = data_folder(cfg)
    slices = read_manifest(folder)
    found = findings(
        slices, read_rejected(folder), list(cfg.data.classes), cfg.validation, cfg.split.folds
    )
    counts = summary(slices)
    cache = open_cache(folder, slices)
    pictures = {
        label: contact_sheet(cache, slices, label)
        for label in cfg.data.classes
        if label in counts["classes"]
    }
    report = {"summary": counts, "findings": found, "data": fingerprint(slices)}
    write_text(folder / "validation.html", report_page(cfg.data.name, counts, found, pictures))
    write_text(folder / "validation.json", json.dumps(report, indent=1) + "\n")
    return [f"{f['check']}: {f['says']} {f['remedy']}" for f in found if f["level"] == "fail"]


def split_stage(cfg: DictConfig) -> Path:
    """Deal the manifest into folds and write the split file."""
    folder = data_folder(cfg)
    split = cfg.split
    return write_split(folder, split.name, read_manifest(folder), split.folds, split.seed)


def prepare(cfg: DictConfig) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return manifest and split; ingest, validate and split where that has not happened yet.

    Raises:
        DataError: another source than the one asked for is ingested, or the data fail validation.
    """
    folder = data_folder(cfg)
    if not (folder / "manifest.csv").is_file():
        print(f"No data in {folder} yet: ingesting {cfg.data.source}", flush=True)
        ingest_stage(cfg)
    slices = read_manifest(folder)
    origin = str(slices["origin"].iloc[0])
    if cfg.data.source != cfg.data.default_source and origin != _origin(cfg):
        raise DataError(
            f"Expected {folder} to hold {_origin(cfg)}, but it holds {origin}.",
            "Replace it (python scripts/ingest.py with the same data.source), or keep both: "
            "data.name=ANOTHER_NAME.",
        )
    if failed := validate_stage(cfg):
        raise DataError(
            f"{folder} fails validation: {' | '.join(failed)}",
            f"Read {folder / 'validation.html'}.",
        )
    path = split_path(folder, cfg.split.name)
    if not path.is_file():
        split_stage(cfg)
    split = read_split(folder, cfg.split.name, slices)
    asked, found = (cfg.split.folds, cfg.split.seed), (split["folds"], split["seed"])
    if asked != found:
        raise DataError(
            f"Expected a split of {asked[0]} folds dealt with seed {asked[1]}, but {path} has "
            f"{found[0]} folds and seed {found[1]}.",
            "Deal it again (python scripts/split.py with the same split settings); earlier runs "
            "on the old split then no longer compare with new ones.",
        )
    return slices, split


def _origin(cfg: DictConfig) -> str:
    source = str(cfg.data.source)
    return source if source.startswith("kaggle:") else Path(source).name
