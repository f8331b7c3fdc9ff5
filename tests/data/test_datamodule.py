"""Batches hold what the manifest and the split say, in an order that seed and epoch decide."""

import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as nnf

from kidney.data.datamodule import KidneyDataModule
from kidney.data.manifest import read_manifest
from kidney.data.split import PARTS, read_split, split_path, write_split
from kidney.errors import ConfigError, DataError
from kidney.imaging.pictures import decode_picture
from tests.helpers.data_slices import CLASSES, take, write_tree

SIDE = 32


def resize(slices: torch.Tensor, size: int = SIDE) -> torch.Tensor:
    return nnf.interpolate(slices.float(), (size, size), mode="bilinear", antialias=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with splits into 4 folds; tests that change it use `data` instead."""
    root = tmp_path_factory.mktemp("datamodule")
    take(root / "data", write_tree(root / "source"))
    for name in ("by_patient", "leaky"):
        write_split(root / "data", name, read_manifest(root / "data"), folds=4, seed=0)
    return root / "data"


def module(folder: Path, split: str = "by_patient", **changes: Any) -> KidneyDataModule:
    slices = read_manifest(folder)
    arguments = {
        "classes": list(CLASSES), "split": read_split(folder, split, slices),
        "fold": 0, "validation_fold": None,
        "prepare": resize, "batch_size": 5, "num_workers": 0, "seed": 0, "slices_per_scan": 6,
    }  # fmt: skip
    made = KidneyDataModule(folder, slices, **(arguments | changes))
    made.setup()
    return made


def train_slices(data: KidneyDataModule, epoch: int = 0) -> list[float]:
    """The brightness of each training slice in the order of an epoch: it tells them apart."""
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    return [float(x) for batch in loader for x in batch["images"].mean((1, 2, 3))]


def test_parts_follow_the_split(folder: Path) -> None:
    data = module(folder)
    rows = {part: data.rows(part) for part in PARTS}
    assert {part: len(of_part) for part, of_part in rows.items()} == {
        "train": 24,
        "val": 12,
        "test": 12,
    }
    assert sorted(np.concatenate(list(rows.values()))) == list(range(48))
    fold_of = json.loads(split_path(folder, "by_patient").read_text())["fold_of"]
    tested = set(data.slices["scan"][rows["test"]])
    assert tested == {scan for scan, fold in fold_of.items() if fold == 0}


def test_train_batches_hold_float_slices_and_integer_labels(folder: Path) -> None:
    batches = list(module(folder).train_dataloader())
    scans = module(folder).slices["scan"].nunique() // 2
    # The last batch is left out unless it is full: one slice has no spread to be normalised by.
    assert [len(batch["labels"]) for batch in batches] == [5] * (6 * scans // 5)
    for batch in batches:
        assert set(batch) == {"images", "labels"}
        assert batch["images"].shape[1:] == (1, SIDE, SIDE)
        assert batch["images"].dtype == torch.float32
        assert batch["labels"].dtype == torch.int64
        assert batch["images"].min() >= 0
        assert 100 < batch["images"].max() <= 255, "the range is 0..255, not 0..1"


@pytest.mark.parametrize("part", ["val", "test"])
def test_other_batches_are_in_the_order_of_the_manifest(folder: Path, part: str) -> None:
    data = module(folder)
    loader = data.val_dataloader() if part == "val" else data.test_dataloader()
    labels = torch.cat([batch["labels"] for batch in loader])
    slices = torch.cat([batch["images"] for batch in loader])
    rows = data.slices.iloc[data.rows(part)]
    assert [list(CLASSES)[label] for label in labels] == list(rows["label"])
    for made, path in zip(slices, rows["path"], strict=True):
        pixels = decode_picture((folder / "raw" / path).read_bytes())
        torch.testing.assert_close(made[None], resize(torch.from_numpy(pixels)[None, None]))


def test_an_epoch_shows_equally_many_slices_of_every_training_scan(folder: Path) -> None:
    data = module(folder, slices_per_scan=3, batch_size=1)
    rows = data.rows("train")
    scan_of = {
        round(float(data.dataset("train")[place]["images"].mean()), 3): data.slices["scan"][row]
        for place, row in enumerate(rows)
    }
    assert len(scan_of) == 24, "brightness tells the slices apart"
    shown = Counter(scan_of[round(mean, 3)] for mean in train_slices(data))
    assert shown == dict.fromkeys(data.slices["scan"][rows], 3)


def test_the_order_depends_on_seed_and_epoch_alone(folder: Path) -> None:
    torch.manual_seed(1)
    first = train_slices(module(folder), epoch=3)
    torch.manual_seed(2)
    data = module(folder)
    train_slices(data, epoch=0)  # what came before leaves no trace: so a run can be resumed
    assert train_slices(data, epoch=3) == first
    assert train_slices(data, epoch=4) != first
    assert train_slices(module(folder, seed=1), epoch=3) != first


def test_a_worker_process_gives_the_same_batches(folder: Path) -> None:
    alone = module(folder).test_dataloader()
    other = module(folder, num_workers=1).test_dataloader()
    for mine, theirs in zip(alone, other, strict=True):
        assert torch.equal(mine["images"], theirs["images"])
        assert torch.equal(mine["labels"], theirs["labels"])


def test_a_data_set_can_be_sent_to_a_process_that_was_not_forked(folder: Path) -> None:
    dataset = module(folder).dataset("train")
    sent = pickle.dumps(dataset)
    assert len(sent) < 48 * 64 * 48 / 10, "pixels were pickled"
    assert torch.equal(pickle.loads(sent)[3]["images"], dataset[3]["images"])


def test_features_take_the_place_of_slices(folder: Path) -> None:
    features = np.random.default_rng(0).random((48, 7), np.float32)
    data = module(folder, features=[features, features + 10])
    batches = list(data.test_dataloader())
    assert set(batches[0]) == {"features", "labels"}
    given = torch.cat([batch["features"] for batch in batches])
    assert torch.equal(given, torch.from_numpy(features[data.rows("test")]))
    labels = torch.cat([batch["labels"] for batch in batches])
    assert labels.tolist() == data.labels[data.rows("test")].tolist()


def test_training_sees_every_augmentation_of_its_slices_and_their_labels(folder: Path) -> None:
    features = np.random.default_rng(0).random((48, 7), np.float32)
    data = module(folder, features=[features, features + 10], slices_per_scan=12, batch_size=4)
    rows = data.rows("train")
    wanted = {
        (round(float(copy[row].mean()), 4), int(data.labels[row]))
        for copy in data.features
        for row in rows
    }
    seen = {
        (round(float(feature.mean()), 4), int(label))
        for batch in data.train_dataloader()
        for feature, label in zip(batch["features"], batch["labels"], strict=True)
    }
    assert seen <= wanted
    assert {mean > 10 for mean, _ in seen} == {True, False}


def test_the_order_of_classes_numbers_the_labels(folder: Path) -> None:
    forward, backward = module(folder), module(folder, classes=list(CLASSES)[::-1])
    assert (forward.labels + backward.labels == 3).all()


def test_a_label_that_is_no_class_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"manifest has \['stone', 'tumor'\]"):
        module(folder, classes=["normal", "cyst"])


def test_a_fold_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"split\.fold to be 0 to 3"):
        module(folder, fold=4)


def test_a_split_that_was_edited_by_slices_is_refused(data: Path) -> None:
    slices = read_manifest(data)
    path = write_split(data, "by_patient", slices, folds=4, seed=0)
    split = json.loads(path.read_text())
    fold_of_scan = split["fold_of"]
    split["unit"] = "path"
    split["fold_of"] = {row.path: fold_of_scan[row.scan] for row in slices.itertuples()}
    path.write_text(json.dumps(split))
    module(data)  # still by patient, only spelled out by slices
    moved = slices["path"][0]
    split["fold_of"][moved] = (split["fold_of"][moved] + 1) % 4
    path.write_text(json.dumps(split))
    with pytest.raises(DataError, match="leaks: 1 patients") as caught:
        # One of the folds keeps both in the training part; the test part of this one cuts them.
        module(data, fold=fold_of_scan[slices["scan"][0]])
    assert slices["scan"][0] in caught.value.problem


def test_the_leaky_split_is_accepted_and_leaks(folder: Path) -> None:
    data = module(folder, split="leaky")
    scans = [set(data.slices["scan"][data.rows(part)]) for part in ("train", "test")]
    assert scans[0] & scans[1]
