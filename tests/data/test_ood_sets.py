from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
from PIL import Image

from kidney.data.ood_sets import read_ood_set, synthetic_ood_sets
from kidney.errors import DataError, ImageError
from tests.helpers.data_slices import scan

SLICES = scan(1) + scan(2)
SCANS = ["a"] * 3 + ["b"] * 3


def test_every_kind_has_grey_pictures_that_belong_to_something():
    kinds = synthetic_ood_sets(SLICES, SCANS, size=64, count=8)
    assert set(kinds) == {"noise", "flat", "inverted", "thorax"}
    for slices, groups in kinds.values():
        assert len(slices) == len(groups) > 0
        assert {slice_.dtype for slice_ in slices} == {np.dtype(np.uint8)}
        assert {slice_.ndim for slice_ in slices} == {2}


def test_one_slice_of_each_scan_is_inverted_and_keeps_its_name():
    slices, groups = synthetic_ood_sets(SLICES, SCANS, size=64, count=1)["inverted"]
    assert groups == ["a", "b"]
    np.testing.assert_array_equal(255 - slices[0], SLICES[1])
    np.testing.assert_array_equal(255 - slices[1], SLICES[4])


def test_flat_pictures_are_flat_and_noise_is_not():
    kinds = synthetic_ood_sets(SLICES, SCANS, size=64, count=8)
    assert all(slice_.min() == slice_.max() for slice_ in kinds["flat"].slices)
    assert all(slice_.std() > 3 for slice_ in kinds["noise"].slices)


def test_the_same_seed_draws_the_same_and_another_does_not():
    def bytes_of(seed: int) -> dict[str, bytes]:
        kinds = synthetic_ood_sets(SLICES, SCANS, size=64, count=4, seed=seed)
        return {kind: b"".join(s.tobytes() for s in found.slices) for kind, found in kinds.items()}

    first, again, other = bytes_of(0), bytes_of(0), bytes_of(1)
    assert first == again
    assert {kind for kind in first if first[kind] != other[kind]} == {"noise", "thorax"}


def test_photographs_are_read_and_other_files_passed_over():
    folder = Path(sklearn.datasets.__file__).parent / "images"  # two photographs and a README
    slices, groups = read_ood_set(folder)
    assert groups == ["china.jpg", "flower.jpg"]
    assert {slice_.shape for slice_ in slices} == {(427, 640)}


def test_a_series_in_an_archive_is_one_scan(shared: Path):
    slices, groups = read_ood_set(shared / "data" / "ct-dicom-series.zip")
    assert len(slices) == 20
    assert len(set(groups)) == 1
    assert all(0 < slice_.mean() < 128 for slice_ in slices)


def test_nothing_to_read_is_an_error(tmp_path: Path):
    with pytest.raises(DataError, match="there is nothing"):
        read_ood_set(tmp_path / "missing")
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(DataError, match="no file there is one"):
        read_ood_set(tmp_path)


def test_a_broken_picture_is_named(tmp_path: Path):
    Image.fromarray(SLICES[0]).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(ImageError, match=r"cut\.jpg"):
        read_ood_set(tmp_path)
