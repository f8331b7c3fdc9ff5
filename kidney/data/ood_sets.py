"""Out-of-distribution sets: pictures that are no kidney CT, synthetic or read from files."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from kidney.data.phantom.thorax import generate_thorax
from kidney.errors import DataError, ImageTypeError
from kidney.imaging.pictures import PICTURE_SUFFIXES
from kidney.imaging.slices import read_slices
from kidney.imaging.windows import ABDOMEN, to_grey
from kidney.imaging.zip_archive import is_archive, unpack

Grey = NDArray[np.uint8]


class OodSet(NamedTuple):
    """Pictures uint8 (H, W), 0..255, and what each belongs to: pictures of one are alike."""

    slices: list[Grey]
    groups: list[str]


def synthetic_ood_sets(
    slices: Sequence[Grey], scans: Sequence[str], size: int = 256, count: int = 24, seed: int = 0
) -> dict[str, OodSet]:
    """Make pictures that no model of kidneys should answer for.

    Args:
        slices: kidney CT, uint8 (H, W) each.
        scans: the scan of each; one slice from the middle of each scan is inverted.
        size: rows and columns of those that are drawn, 64 or more.

    Returns:
        noise; flat, one grey all over; inverted, air white and bone black; thorax, CT of a body
        without a kidney.
    """
    rng = np.random.default_rng(seed)
    noise = list(_noise(count, size, rng))
    flat = [np.full((size, size), grey, dtype=np.uint8) for grey in range(0, 256, 15)]
    named = np.asarray(scans)
    rows = {scan: np.flatnonzero(named == scan) for scan in dict.fromkeys(scans)}
    inverted = [255 - np.asarray(slices[own[len(own) // 2]]) for own in rows.values()]
    chests = [to_grey(generate_thorax(seed * 1_000_000 + k, size, 1)[0]) for k in range(count)]
    return {
        "noise": OodSet(noise, [str(number) for number in range(len(noise))]),
        "flat": OodSet(flat, [str(number) for number in range(len(flat))]),
        "inverted": OodSet(inverted, list(rows)),
        "thorax": OodSet(chests, [str(number) for number in range(count)]),
    }


def _noise(count: int, size: int, rng: np.random.Generator) -> Iterator[Grey]:
    """Draw white noise of all greys, of few greys, clouds, and specks, in turn."""
    shape = (size, size)
    for number in range(count):
        kind = number % 4
        if kind == 0:
            yield rng.integers(0, 256, shape, dtype=np.uint8)
        elif kind == 1:
            yield _clipped(rng.normal(rng.uniform(30, 200), rng.uniform(5, 60), shape))
        elif kind == 2:
            clouds = gaussian_filter(rng.standard_normal(shape), size * rng.uniform(0.005, 0.06))
            yield _clipped(rng.uniform(60, 180) + rng.uniform(15, 60) * clouds / clouds.std())
        else:
            specks = rng.random(shape) < rng.uniform(0.01, 0.3)
            yield np.where(specks, 255, rng.integers(0, 120)).astype(np.uint8)


def _clipped(values: NDArray[np.float64]) -> Grey:
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def read_ood_set(path: Path) -> OodSet:
    """Read photographs, or CT without a kidney, from a folder or an archive of one.

    Args:
        path: all JPEG, PNG, TIFF, DICOM and NIfTI files in it are read, others passed over.

    Returns:
        The slices by the names of their files. Every picture is a group of its own; files in
        Hounsfield units in one folder are one scan.

    Raises:
        DataError: `path` does not exist, or nothing in it can be read.
        ImageError: a file is of these kinds, but damaged.
    """
    if not path.exists():
        raise DataError(f"Expected pictures at {path}, but there is nothing.", "Correct the path.")
    with TemporaryDirectory() as folder:
        if is_archive(path):
            unpack(path, Path(folder))
            found = _read_folder(Path(folder))
        else:
            found = _read_folder(path)
    if not found.slices:
        raise DataError(
            f"Expected pictures in {path}, but no file there is one.",
            "Name a folder or archive of JPEG, PNG, TIFF, DICOM or NIfTI files.",
        )
    return found


def _read_folder(folder: Path) -> OodSet:
    found = OodSet([], [])
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        name = str(file.relative_to(folder))
        try:
            slices = read_slices(file, ABDOMEN, name)
        except ImageTypeError:
            continue
        group = name if name.lower().endswith(PICTURE_SUFFIXES) else str(Path(name).parent)
        found.slices.extend(slices)
        found.groups.extend([group] * len(slices))
    return found
