"""Slices whose lesion somebody has drawn: the truth that evidence is measured against."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kidney.data.phantom.files import TABLE
from kidney.data.phantom.scan import MASK_LABELS
from kidney.errors import DataError
from kidney.imaging.pictures import PICTURE_SUFFIXES, decode_picture

_HALF = 128  # of a colour: masks are pure, but for what resizing left at their rims


@dataclass(frozen=True, eq=False)
class MaskedSlice:
    """A slice and the lesion in it."""

    path: str  # of the slice's file below the folder, POSIX
    label: str  # what the lesion is: cyst, tumor or stone
    patient: str  # whose slice it is
    pixels: NDArray[np.uint8]  # uint8 (H, W)
    lesion: NDArray[np.bool_]  # bool (H, W), a pixel at least
    kidney: NDArray[np.bool_]  # bool (H, W), the healthy rest of the kidneys


def read_masked_slices(folder: Path) -> list[MaskedSlice]:
    """Read all slices that show a lesion, in the order of their paths.

    Args:
        folder: holds, at any depth, what `write_class_folders` of the phantom wrote (phantom.csv
            names slices and masks), or images/PATIENT_SLICE.png beside masks/PATIENT_SLICE.png
            with kidneys in blue and tumours in red.

    Raises:
        DataError: neither of them, a mask is missing, unreadable or of another size than its
            slice, or no slice shows a lesion.
        ImageError: a slice cannot be decoded.
    """
    found = [
        one for table in sorted(folder.rglob(TABLE)) for one in _of_table(folder, table)
    ] or list(_of_folders(folder))
    shown = [one for one in found if one.lesion.any()]
    if not shown:
        raise DataError(
            f"Expected slices with masks of lesions below {folder}, but found none among "
            f"{len(found)} slices.",
            f"Give images/ beside masks/ (kidneys blue, tumours red), or a phantom with {TABLE}.",
        )
    return sorted(shown, key=lambda one: one.path)


def _of_table(folder: Path, table: Path) -> Iterator[MaskedSlice]:
    """Read the slices of a phantom."""
    value_of = {name: value for value, name in MASK_LABELS.items()}
    with table.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            mask = _read_mask(table.parent / row["mask"], "L")
            lesion = mask == value_of.get(row["label"], -1)  # a normal slice has none
            kidney = mask == value_of["kidney"]
            picture = table.parent / row["path"]
            yield _checked(folder, picture, row["label"], row["scan"], lesion, kidney)


def _of_folders(folder: Path) -> Iterator[MaskedSlice]:
    """Read the slices of images/ that lie beside masks/ of the same names."""
    for picture in sorted(folder.rglob("images/*")):
        if picture.suffix in PICTURE_SUFFIXES:
            colours = _read_mask(picture.parents[1] / "masks" / picture.name, "RGB")
            red, blue = colours[..., 0] >= _HALF, colours[..., 2] >= _HALF
            patient = picture.stem.split("_")[0]
            yield _checked(folder, picture, "tumor", patient, red & ~blue, blue & ~red)


def _checked(
    folder: Path,
    picture: Path,
    label: str,
    patient: str,
    lesion: NDArray[np.bool_],
    kidney: NDArray[np.bool_],
) -> MaskedSlice:
    path = picture.relative_to(folder).as_posix()
    try:
        pixels = decode_picture(picture.read_bytes(), path)
    except OSError as error:
        raise DataError(
            f"Could not read {picture}: {error}.", "Fetch the whole set again."
        ) from error
    if pixels.shape != lesion.shape:
        raise DataError(
            f"Expected the mask of {path} to have its {pixels.shape} pixels, got {lesion.shape}.",
            "Draw masks on the slices as they are, or resize both alike.",
        )
    return MaskedSlice(path, label, patient, pixels, lesion, kidney)


def _read_mask(path: Path, mode: str) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert(mode))
    except OSError as error:
        raise DataError(
            f"Expected a mask at {path}, but: {error}.",
            "Keep each mask under the name of its slice, or leave out the slice.",
        ) from error
