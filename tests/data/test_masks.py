"""Slices with drawn lesions: of the phantom, and in colours."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kidney.data.masks import read_masked_slices
from kidney.data.phantom.files import write_class_folders
from kidney.errors import DataError


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("masked") / "phantom"
    write_class_folders(folder, scans_per_class=1, seed=3, size=96, max_slices=2)
    return folder


def colour_set(folder: Path, mask: np.ndarray, side: int = 64) -> Path:
    for name in ("images", "masks"):
        (folder / "set" / name).mkdir(parents=True)
    Image.fromarray(np.full((side, side), 90, np.uint8)).save(folder / "set/images/12_3.png")
    Image.fromarray(mask).save(folder / "set/masks/12_3.png")
    return folder


def test_every_slice_of_a_phantom_with_a_finding_comes_with_its_mask(phantom: Path):
    found = read_masked_slices(phantom)
    assert [(one.label, one.path) for one in found] == [
        (label, f"{name}/{name}- ({number}).jpg")
        for label, name in (("cyst", "Cyst"), ("stone", "Stone"), ("tumor", "Tumor"))
        for number in (1, 2)
    ]
    value = {"tumor": 2, "cyst": 3, "stone": 4}
    for one in found:
        mask = np.asarray(Image.open(phantom / "masks" / f"{Path(one.path).stem}.png"))
        assert np.array_equal(one.lesion, mask == value[one.label])
        assert np.array_equal(one.kidney, mask == 1)
        assert one.pixels.shape == mask.shape
        assert one.patient.startswith(one.label)


def test_red_is_the_tumour_and_blue_the_kidney(tmp_path: Path):
    mask = np.zeros((64, 64, 3), np.uint8)
    mask[10:20, 10:20, 2] = 255
    mask[15:25, 15:18] = (255, 0, 0)
    (one,) = read_masked_slices(colour_set(tmp_path, mask))
    assert (one.path, one.patient, one.label) == ("set/images/12_3.png", "12", "tumor")
    assert one.lesion.sum() == 30
    assert one.kidney.sum() == 100 - 5 * 3
    assert not (one.lesion & one.kidney).any()


def test_the_kits_slices_are_read_whole(shared, tmp_path: Path):
    with zipfile.ZipFile(shared / "data/kits19-slices.zip") as packed:
        packed.extractall(tmp_path)
    found = read_masked_slices(tmp_path)
    masks = sorted(tmp_path.rglob("masks/*.png"))
    red = {
        path.name for path in masks if (np.asarray(Image.open(path).convert("RGB"))[..., 0]).any()
    }
    assert {Path(one.path).name for one in found} == red
    assert {one.patient for one in found} <= {path.name.split("_")[0] for path in masks}
    assert all(one.pixels.shape == one.lesion.shape == (512, 512) for one in found)
    # Tumours are soft tissue: neither air nor bone.
    assert all(20 < np.median(one.pixels[one.lesion]) < 230 for one in found)


def test_slices_without_any_lesion_are_refused(tmp_path: Path):
    with pytest.raises(DataError, match="none among 1 slices"):
        read_masked_slices(colour_set(tmp_path, np.zeros((64, 64, 3), np.uint8)))


def test_a_folder_without_masks_is_told_what_would_do(tmp_path: Path):
    with pytest.raises(DataError, match="images/ beside masks/"):
        read_masked_slices(tmp_path)


def test_a_missing_mask_is_named(tmp_path: Path):
    folder = colour_set(tmp_path, np.zeros((64, 64, 3), np.uint8))
    shutil.rmtree(folder / "set/masks")
    with pytest.raises(DataError, match=r"masks/12_3\.png"):
        read_masked_slices(folder)


def test_a_mask_of_another_size_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"\(64, 64\) pixels, got \(32, 32\)"):
        read_masked_slices(colour_set(tmp_path, np.full((32, 32, 3), 255, np.uint8)))
