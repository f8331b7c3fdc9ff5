"""The stages before training: ingest, validate, split; they need no torch."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from kidney.data.cache import open_thumbnails
from kidney.data.ingest import ingest
from kidney.data.manifest import fingerprint, read_boundaries, read_manifest, read_rejected
from kidney.data.scans.similarity import coordinates
from kidney.data.split import (
    LEAKY,
    Split,
    StaleSplitError,
    check_folds,
    make_split,
    parts_in,
    read_split,
    split_path,
    write_split,
)
from kidney.data.validation.checks import Finding, findings, no_split, split_findings, summary
from kidney.data.validation.confounders import confounders
from kidney.data.validation.leakage import SAME_PICTURE, across_labels, measure_leakage
from kidney.data.validation.report import ValidationReport, report_page
from kidney.errors import ConfigError, DataError
from kidney.files import locked, sha256, write_text
from kidney.pipeline.entry import workspace_of
from kidney.remote.http import is_url, without_secrets

SETTINGS = "ingest.json"
_OF_THE_SOURCE = ("source", "sha256")  # settings of fetch that `origin` stands for


def data_folder(cfg: DictConfig) -> Path:
    """Return where the chosen data set lies."""
    return workspace_of(cfg).data(str(cfg.data.name))


def ingest_stage(cfg: DictConfig) -> pd.DataFrame:
    """Fetch the source, write the manifest, and note the settings that made it."""
    slices = ingest(
        data_folder(cfg),
        fetch=instantiate(cfg.data.fetch, _partial_=True),
        read=instantiate(cfg.data.read, _partial_=True, _convert_="all"),
        origin=origin_of(cfg),
        classes=list(cfg.data.classes),
        corrections=cfg.data.labels,
    )
    write_text(data_folder(cfg) / SETTINGS, json.dumps(_ingest_settings(cfg), indent=1) + "\n")
    return slices


def _ingest_settings(cfg: DictConfig) -> dict[str, Any]:
    """Return what decides the manifest, but for the source."""
    data = OmegaConf.to_container(cfg.data, resolve=True)
    assert isinstance(data, dict)
    labels = data["labels"]
    fetch = {name: value for name, value in data["fetch"].items() if name not in _OF_THE_SOURCE}
    return {
        "fetch": fetch,
        "read": data["read"],
        "classes": data["classes"],
        "labels": sha256(Path(labels).expanduser()) if labels else None,
    }


def validate_stage(cfg: DictConfig) -> list[Finding]:
    """Check the manifest and the chosen split; write validation.html and validation.json.

    A split that is not written yet is checked as it would be made.
    """
    folder, asked = data_folder(cfg), cfg.split
    slices = read_manifest(folder)
    thumbnails = open_thumbnails(folder, slices)
    points = coordinates(thumbnails)
    split, found = _split_to_check(cfg, slices)
    with ThreadPoolExecutor() as pool:
        leaking = pool.submit(measure_leakage, slices, thumbnails, points, split) if split else None
        searching = pool.submit(across_labels, slices, thumbnails, points, above=SAME_PICTURE)
        biases = confounders(slices)
        duplicates = searching.result()
        leakage = leaking.result() if leaking else None
    found += findings(
        slices, read_rejected(folder), duplicates, biases, list(cfg.data.classes), cfg.validation,
        asked.folds,
    )  # fmt: skip
    parts = None
    if split and leakage:
        parts = parts_in(slices, split, asked.fold, asked.validation_fold)
        found += split_findings(slices, asked.name, leakage, cfg.validation)
    report = ValidationReport(fingerprint(slices), summary(slices), found, biases, leakage)
    html = report_page(
        cfg.data.name, report, slices, thumbnails, duplicates, parts, read_boundaries(folder)
    )
    write_text(folder / "validation.html", html)
    write_text(folder / "validation.json", report.to_json())
    return report.failed()


def _split_to_check(cfg: DictConfig, slices: pd.DataFrame) -> tuple[Split | None, list[Finding]]:
    """Return the split file, or the split that would be made; and what is wrong with either."""
    folder, asked = data_folder(cfg), cfg.split
    found: list[Finding] = []
    try:
        if split_path(folder, asked.name).is_file():
            with suppress(StaleSplitError):  # scripts/split.py comes next and makes a new one
                split = read_split(folder, asked.name, slices)
                check_folds(split, asked.fold, asked.validation_fold)
                return split, found
        split = make_split(asked.name, slices, asked.folds, asked.seed)
    except DataError as error:
        return None, [no_split(asked.name, error.problem, error.remedy)]
    check_folds(split, asked.fold, asked.validation_fold)
    return split, found


def split_stage(cfg: DictConfig) -> Path:
    """Assign the manifest to folds and write the split file.

    Raises:
        DataError: another source than the one asked for is ingested.
    """
    folder = data_folder(cfg)
    split, slices = cfg.split, read_manifest(folder)
    _check_origin(cfg, slices)
    return write_split(folder, split.name, slices, split.folds, split.seed)


def prepare(cfg: DictConfig) -> tuple[pd.DataFrame, Split]:
    """Return manifest and split; ingest, validate and split where that has not happened yet.

    Raises:
        DataError: another source than the one asked for is ingested, or the data fail validation.
    """
    folder = data_folder(cfg)
    # The jobs of a sweep share what one of them prepares.
    lock = folder.with_name(f".{folder.name}.lock")
    with locked(lock, f"Another job of the sweep makes {folder}"):
        return _prepare(cfg)


def _prepare(cfg: DictConfig) -> tuple[pd.DataFrame, Split]:
    folder = data_folder(cfg)
    if not (folder / "manifest.csv").is_file():
        print(f"No data in {folder} yet: ingesting {origin_of(cfg) or 'it'}", flush=True)
        ingest_stage(cfg)
    slices = read_manifest(folder)
    _check_settings(cfg)
    _check_origin(cfg, slices)
    failed = validate_stage(cfg)
    # Whoever asks for the leaky split by its name wants to see what it does.
    stops = [f for f in failed if f.about == "data" or cfg.split.name != LEAKY]
    if stops:
        raise DataError(
            f"{folder} fails validation: " + " | ".join(f"{f.check}: {f.message}" for f in stops),
            f"Read {folder / 'validation.html'}.",
        )
    path = split_path(folder, cfg.split.name)
    if not path.is_file():
        split_stage(cfg)
    split = read_split(folder, cfg.split.name, slices)
    asked, found = (cfg.split.folds, cfg.split.seed), (split.folds, split.seed)
    if asked != found:
        raise DataError(
            f"Expected a split of {asked[0]} folds made with seed {asked[1]}, but {path} has "
            f"{found[0]} folds and seed {found[1]}.",
            "Make it again (python scripts/split.py with the same split settings); earlier runs "
            "on the old split then no longer compare with new ones.",
        )
    return slices, split


def _check_origin(cfg: DictConfig, slices: pd.DataFrame) -> None:
    """See that the manifest was made from the source that is asked for."""
    origin = str(slices["origin"].iloc[0])
    if cfg.data.source != cfg.data.default_source and origin != origin_of(cfg):
        raise DataError(
            f"Expected {data_folder(cfg)} to hold {origin_of(cfg)}, but it holds {origin}.",
            "Replace it (python scripts/ingest.py with the same data.source), or keep both: "
            "data.name=ANOTHER_NAME.",
        )


def _check_settings(cfg: DictConfig) -> None:
    """See that the manifest was made with the settings that are asked for now."""
    path = data_folder(cfg) / SETTINGS
    if not path.is_file():
        return
    then, now = json.loads(path.read_text(encoding="utf-8")), _ingest_settings(cfg)
    if changed := [f"data.{name}" for name in now if then.get(name) != now[name]]:
        raise DataError(
            f"Expected the settings with which {data_folder(cfg)} was ingested, but "
            f"{' and '.join(changed)} changed since.",
            "Ingest again (python scripts/ingest.py with the same settings), or keep both: "
            "data.name=ANOTHER_NAME.",
        )


def origin_of(cfg: DictConfig) -> str:
    """Return the `origin` of the manifest: where the slices come from, without secrets."""
    source = str(cfg.data.source)
    if "source" not in cfg.data.fetch and source != cfg.data.default_source:
        raise ConfigError(
            f"Expected no data.source: data={cfg.data.name} makes its slices itself, got {source}.",
            "Choose the data set that reads such files, for example data=ct_kidney.",
        )
    if source.startswith("kaggle:") or is_url(source):
        return without_secrets(source)
    return Path(source).expanduser().resolve().name if source else ""
