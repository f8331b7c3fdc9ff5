"""Small scans made for the tests: neighbours look alike, scans do not."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from kidney.data.ingest import ingest
from kidney.data.readers.class_folders import read
from kidney.data.sources import fetch

CLASSES = {"normal": "Normal", "cyst": "Cyst", "tumor": "Tumor", "stone": "Stone"}


def scan(seed: int, slices: int = 3, width: int = 64, height: int = 48) -> list[np.ndarray]:
    """Slices uint8 (height, width): one coarse random pattern, and a little noise on each."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(40, 216, (8, 8), dtype=np.uint8))
    pattern = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    noise = generator.integers(-6, 7, (slices, height, width))
    return list(np.clip(pattern + noise, 0, 255).astype(np.uint8))


def write_tree(folder: Path, scans: int = 4, slices: int = 3) -> Path:
    """Write class folders with `scans` scans a class, numbered on from scan to scan."""
    for label, name in enumerate(CLASSES.values()):
        (folder / name).mkdir(parents=True)
        pictures = [p for s in range(scans) for p in scan(100 * label + s, slices)]
        for number, picture in enumerate(pictures, start=1):
            Image.fromarray(picture).save(folder / name / f"{name}- ({number}).png")
    return folder


def take(folder: Path, source: Path, **settings: Any) -> pd.DataFrame:
    """Ingest `source` into `folder`; settings are of the reader, but for `corrections`."""
    corrections = settings.pop("corrections", None)
    return ingest(
        folder,
        fetch=partial(fetch, source=str(source)),
        read=partial(read, classes=CLASSES, **settings),
        origin=source.name,
        classes=list(CLASSES),
        corrections=corrections,
    )


def manifest_of(scans: dict[str, list[int]]) -> pd.DataFrame:
    """Make a manifest: label -> how many slices each of its scans has."""
    rows = [
        (f"{label}/{label}- ({100 * number + index}).png", label, f"{label}-{100 * number:04d}")
        for label, sizes in scans.items()
        for number, size in enumerate(sizes)
        for index in range(size)
    ]
    slices = pd.DataFrame(rows, columns=["path", "label", "scan"])
    slices["frame"] = 0
    slices["patient"] = slices["scan"]
    slices["phase"], slices["plane"], slices["estimated"] = "plain", "axial", ""
    slices["enhancement"], slices["soft_grey"], slices["body_share"] = 100.0, 90.0, 0.5
    slices["window"], slices["pixel_mm"], slices["slice_mm"] = "", 0.7, 5.0
    slices["width"], slices["height"] = 64, 48
    slices["sha256"] = [f"{row:064x}" for row in range(len(slices))]
    slices["origin"] = "made"
    return slices


def content(folder: Path) -> dict[str, bytes]:
    """Read all files below `folder`, hidden ones too."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
