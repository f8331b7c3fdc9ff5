import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from kidney.models.checkpoint import Hparams
from kidney.models.classifier import KidneyClassifier
from kidney.models.ood import HISTOGRAM_BINS
from kidney.training.features import features_path, frozen_features
from tests.helpers.small_network import CLASSES, random_slices, small_task

ROWS = 7
BATCH = 2
SENTINEL = 1234.0


class Counted(Dataset[dict[str, torch.Tensor]]):
    """Slices that remember in which order they were asked for."""

    def __init__(self) -> None:
        self.slices = random_slices(ROWS).float()
        self.asked: list[int] = []

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        self.asked.append(row)
        return {"images": self.slices[row], "labels": torch.tensor(0)}


@pytest.fixture(scope="module")
def classifier() -> KidneyClassifier:
    return small_task().classifier.eval()


def features(
    classifier: KidneyClassifier, slices: Counted, path: Path, augmentation: int = 0
) -> np.ndarray:
    frozen = classifier.eval().embed
    return frozen_features(frozen, slices, ROWS, path, augmentation, BATCH, 0, torch.device("cpu"))


def expected(classifier: KidneyClassifier, slices: Counted) -> np.ndarray:
    with torch.inference_mode():
        return classifier.embed(slices.slices).numpy()


def cut_off(path: Path, classifier: KidneyClassifier, done: int) -> Path:
    """Leave what a run that was killed after `done` rows leaves, with marked rows."""
    growing = path.with_suffix(".partial")
    shape = (ROWS, classifier.backbone.channels + HISTOGRAM_BINS)
    rows = np.lib.format.open_memmap(growing, mode="w+", dtype=np.float32, shape=shape)
    rows[:] = np.nan
    rows[:done] = SENTINEL
    rows.flush()
    return growing


def test_features_are_what_the_head_would_see(classifier: KidneyClassifier, tmp_path: Path):
    slices = Counted()
    found = features(classifier.train(), slices, tmp_path / "new" / "features.npy")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected(classifier.eval(), slices), rtol=1e-4, atol=1e-5)
    assert slices.asked == [0, *range(ROWS)]  # the first tells the shape


def test_features_are_computed_once(classifier: KidneyClassifier, tmp_path: Path):
    path = tmp_path / "features.npy"
    first = features(classifier, Counted(), path)
    again = Counted()
    np.testing.assert_array_equal(features(classifier, again, path), first)
    assert again.asked == []
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("done", [0, 1, 4, ROWS])
def test_a_run_that_was_cut_off_goes_on_where_it_stopped(
    classifier: KidneyClassifier, tmp_path: Path, done: int
):
    path = tmp_path / "features.npy"
    growing = cut_off(path, classifier, done)
    slices = Counted()
    found = features(classifier, slices, path)
    assert slices.asked == [0, *range(done, ROWS)]
    assert (found[:done] == SENTINEL).all()
    rest = expected(classifier, slices)[done:]
    np.testing.assert_allclose(found[done:], rest, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(np.load(path), found)
    assert not growing.exists()


def test_a_run_that_is_cut_off_keeps_the_batches_that_it_finished(
    classifier: KidneyClassifier, tmp_path: Path
):
    class Killed(Counted):
        def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
            if row == 5:
                raise KeyboardInterrupt
            return super().__getitem__(row)

    path = tmp_path / "features.npy"
    with pytest.raises(KeyboardInterrupt):
        features(classifier, Killed(), path)
    assert not path.exists()
    slices = Counted()
    found = features(classifier, slices, path)
    assert slices.asked == [0, 4, 5, 6]  # row 4 shared the batch that was lost
    np.testing.assert_allclose(found, expected(classifier, slices), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00v\x00{'descr'"])
def test_a_file_that_was_cut_while_it_was_laid_out_is_started_again(
    classifier: KidneyClassifier, tmp_path: Path, content: bytes
):
    path = tmp_path / "features.npy"
    path.with_suffix(".partial").write_bytes(content)
    slices = Counted()
    found = features(classifier, slices, path)
    np.testing.assert_allclose(found, expected(classifier, slices), rtol=1e-4, atol=1e-5)


def test_the_file_has_another_name_for_all_that_changes_its_content(tmp_path: Path):
    hparams = Hparams("resnet50.a1_in1k", "hub", 224, [-1], "head", 1e-3, 0.1, 0.0, 0.0, CLASSES)
    same = ("data-1", "file:a", hparams, 0)
    others = [
        ("data-2", *same[1:]),
        ("data-1", "file:b", *same[2:]),
        *(
            (*same[:2], dataclasses.replace(hparams, **change), 0)
            for change in (
                {"backbone": "resnet50.a2_in1k"}, {"image_size": 288}, {"stages": [-2, -1]},
                {"trainable": "tail"},
            )
        ),
        (*same[:3], 1),
    ]  # fmt: skip
    path = features_path(tmp_path, *same)
    assert path == features_path(tmp_path, *same)
    assert path.parent == tmp_path
    growing = {features_path(tmp_path, *other).with_suffix(".partial") for other in others}
    assert len({path.with_suffix(".partial"), *growing}) == 1 + len(others)


def test_a_further_augmentation_is_made_in_the_same_way_whenever_it_is_computed(
    classifier: KidneyClassifier, tmp_path: Path
):
    plain = features(classifier, Counted(), tmp_path / "plain.npy")
    whole = features(classifier, Counted(), tmp_path / "whole.npy", augmentation=1)
    assert not np.allclose(whole, plain, atol=1e-2)
    path = tmp_path / "cut.npy"
    growing = cut_off(path, classifier, 3)
    rows = np.lib.format.open_memmap(growing, mode="r+")
    rows[:3] = whole[:3]
    rows.flush()
    torch.manual_seed(99)
    resumed = features(classifier, Counted(), path, augmentation=1)
    np.testing.assert_allclose(resumed, whole, rtol=1e-4, atol=1e-5)
    again = features(classifier, Counted(), tmp_path / "other.npy", augmentation=2)
    assert not np.allclose(again, whole, atol=1e-2)
