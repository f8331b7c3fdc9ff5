"""One phantom in three formats is the same set of slices, whichever reader reads it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from kidney.data.phantom.files import (
    CLASS_FOLDERS,
    write_class_folders,
    write_dicom_series,
    write_nifti,
)
from kidney.data.phantom.scan import generate_scans
from kidney.data.readers import class_folders, dicom_series, volumes
from kidney.data.readers.interface import RawSlice, Task
from tests.helpers.readers import run

DRAWN = {"seed": 3, "size": 96, "max_slices": 5}
VALUES = {"tumor": [2], "stone": [4], "cyst": [3], "normal": [1]}


def by_label(tasks: Sequence[Task]) -> dict[str, list[RawSlice]]:
    """Return the slices of each class, in the order in which the reader gives them."""
    slices, refused = run(tasks)
    assert refused == []
    return {label: [s for s in slices if s.label == label] for label in CLASS_FOLDERS}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[RawSlice]]:
    """The slices of the class folders: one scan a class, numbered from the head."""
    folder = tmp_path_factory.mktemp("set") / "raw"
    write_class_folders(folder, scans_per_class=1, picture_format="png", **DRAWN)
    found = by_label(class_folders.read(folder, classes=CLASS_FOLDERS, ignore=["masks"]))
    assert [len(slices) for slices in found.values()] == [5, 5, 5, 5]
    return found


def agree(one: dict[str, list[RawSlice]], other: dict[str, list[RawSlice]]) -> bool:
    """Tell whether labels, order and pixels are the same, to one grey level."""
    for label, slices in one.items():
        assert len(slices) == len(other[label]), label
        for mine, theirs in zip(slices, other[label], strict=True):
            apart = np.abs(mine.pixels.astype(int) - theirs.pixels.astype(int))
            if apart.max() > 1:
                return False
    return True


def test_dicom_series_are_the_pictures(tmp_path: Path, pictures: dict[str, list[RawSlice]]) -> None:
    for scan in generate_scans(1, **DRAWN):
        write_dicom_series(tmp_path / "raw" / CLASS_FOLDERS[scan.label] / "series", scan)
    assert agree(pictures, by_label(dicom_series.read(tmp_path / "raw", classes=CLASS_FOLDERS)))


def test_volumes_with_masks_are_the_pictures(
    tmp_path: Path, pictures: dict[str, list[RawSlice]]
) -> None:
    for scan in generate_scans(1, **DRAWN):
        write_nifti(tmp_path / f"case-{scan.seed}", scan)
    read = volumes.read(tmp_path, image="image.nii.gz", mask="labels.nii.gz", values=VALUES)
    assert agree(pictures, by_label(read))


def test_slices_of_other_scans_do_not_agree(pictures: dict[str, list[RawSlice]]) -> None:
    turned = {label: slices[::-1] for label, slices in pictures.items()}
    assert agree(pictures, pictures)
    assert not agree(pictures, turned)
