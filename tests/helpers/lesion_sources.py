"""Small sources made for the tests: bodies with two kidneys, and what is known of them."""

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kidney.data.lesions import readers
from kidney.data.lesions.records import KIDNEY, TUMOR, Source
from kidney.data.lesions.store import SliceStore, open_store
from kidney.training.lesion_predictions import CUT_OUT

SIDE = 96


def body(
    rng: np.random.Generator, tumor: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw a body of 0..255 HU with two kidneys, one with a tumour if asked for, and its mask."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    hu = np.where(np.hypot(x / 44, y / 34) < 1, 60.0, 0.0)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for side in (-1, 1):
        kidney = np.hypot((x - side * 20) / 9, (y - 8) / 12) < 1
        hu[kidney], mask[kidney] = 180, KIDNEY
    if tumor:
        lesion = np.hypot(x - 24, y - 4) < 6
        hu[lesion], mask[lesion] = 100, TUMOR
    noise = rng.normal(0, 5, hu.shape)
    return np.clip(hu + noise * (hu > 0), 0, 255).astype(np.uint8), mask


def write_masked(folder: Path, patients: int = 4, tumors: bool = True) -> Path:
    """Write images/ and masks/ of two slices a patient, the second one with a tumour."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for patient in range(patients):
        for slice_ in range(2):
            rng = np.random.default_rng([patient, slice_])
            pixels, mask = body(rng, tumor=tumors and slice_ == 1)
            name = f"case_{patient:05d}_slice_{slice_}.png"
            Image.fromarray(pixels).save(folder / "images" / name)
            Image.fromarray(mask).save(folder / "masks" / name)
    return folder


def write_classes(folder: Path, patients: int = 3, slices: int = 2) -> Path:
    """Write class folders, whose numbers have a gap between patients."""
    for label, name in enumerate(("Normal", "Cyst", "Tumor", "Stone")):
        (folder / name).mkdir(parents=True)
        for patient in range(patients):
            for slice_ in range(slices):
                pixels, _ = body(np.random.default_rng([label, patient, slice_]), name == "Tumor")
                number = 1 + 10 * patient + slice_
                Image.fromarray(pixels).save(folder / name / f"{name}- ({number}).png")
    return folder


def masked_source(name: str = "kits", pastes: bool = True) -> Source:
    """The source of what `write_masked` wrote to a folder of its name."""
    return Source(
        name,
        {"slices": [name]},
        {"tumor": 2.0, "kidney": 1.0, "free": 1.0},
        partial(readers.masked_slices, values={"kidney": 1, "tumor": 2}, known={"cyst": "outside"}),
        pastes=pastes,
    )


def class_source(name: str = "public") -> Source:
    """The source of what `write_classes` wrote to a folder of its name."""
    classes = {"normal": "Normal", "cyst": "Cyst", "tumor": "Tumor", "stone": "Stone"}
    return Source(
        name,
        {"slices": [name]},
        dict.fromkeys([*classes, "stone_drawn"], 1.0),
        partial(readers.class_folders, classes=classes),
    )


def stores(folder: Path) -> list[SliceStore]:
    """Write both sources below `folder` and open their cut-outs."""
    write_masked(folder / "kits")
    write_classes(folder / "public")
    sources = [masked_source(), class_source()]
    return [open_store(one, folder, folder / "cache", CUT_OUT, 96) for one in sources]
