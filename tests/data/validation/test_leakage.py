"""A split that gives its test part away is seen in the nearest slices."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from kidney.data.cache import open_thumbnails
from kidney.data.manifest import read_manifest
from kidney.data.scans.similarity import coordinates
from kidney.data.split import make_split
from kidney.data.validation.leakage import across_labels, measure_leakage
from kidney.imaging.appearance import thumbnail
from tests.helpers.data_slices import manifest_of, scan, take

LOOKS = np.stack([thumbnail(slice_) for seed in range(20) for slice_ in scan(seed, 4)])


def measured(data: Path, name: str):
    slices = read_manifest(data)
    thumbnails = open_thumbnails(data, slices)
    places = coordinates(thumbnails)
    return measure_leakage(slices, thumbnails, places, make_split(name, slices, 4, 0))


def test_a_split_by_patient_gives_nothing_away(data: Path) -> None:
    found = measured(data, "by_patient")
    assert (found.near_copies, found.crossing, found.pairs) == (0.0, 0, ())
    assert found.majority_accuracy <= 0.5


def test_a_split_by_slices_gives_the_labels_away(data: Path) -> None:
    found = measured(data, "leaky")
    assert found.near_copies > 0.4
    assert found.crossing == 16
    assert found.memory_accuracy > 0.75
    slices = read_manifest(data)
    assert found.pairs
    for test, train, alike in found.pairs:
        assert alike > 0.9
        assert slices["scan"][test] == slices["scan"][train]


def test_a_copy_in_training_counts_beside_closer_slices_of_the_own_scan() -> None:
    # Each scan of five slices has a partner in another fold that looks nearly the same.
    looks = np.stack(
        [
            np.clip(base.astype(int) + 6 * part + number, 0, 255).astype(np.uint8)
            for base in LOOKS[::4]
            for part in range(2)
            for number in range(5)
        ]
    )
    slices = manifest_of({"cyst": [5] * 40})
    split = make_split("by_patient", slices, 5, 0)
    partners = {f"cyst-{100 * number:04d}": number % 2 * 3 for number in range(40)}
    split = replace(split, fold_of=partners)
    found = measure_leakage(slices, looks, coordinates(looks), split)
    assert found.near_copies > 0.9
    assert found.crossing == 0


def test_every_fold_is_tested_once(data: Path) -> None:
    slices = read_manifest(data)
    split = make_split("by_patient", slices, 4, 0)
    # One slice in fold 2 goes over to fold 3: only where one of the two is the test part and the
    # other in training does it give its scan away.
    fold_of = {f"{row.path}#0": split.fold_of[row.patient] for row in slices.itertuples()}
    moved = next(name for name, fold in fold_of.items() if fold == 2)
    fold_of[moved] = 0  # fold 1 is the validation part then, and fold 2 in training
    split = replace(split, unit="slice", fold_of=fold_of)
    thumbnails = open_thumbnails(data, slices)
    found = measure_leakage(slices, thumbnails, coordinates(thumbnails), split)
    assert found.crossing == 1
    # Tested in fold 0 it has its two fellows in training; tested in fold 2 they may find it there.
    assert 0 < found.near_copies <= 3 / 48 + 1e-3


def test_near_duplicates_under_two_labels_are_found(source: Path, tmp_path: Path) -> None:
    first = (source / "Cyst" / "Cyst- (2).png").read_bytes()
    (source / "Stone" / "Stone- (70).png").write_bytes(first)
    slices = take(tmp_path / "data", source)
    thumbnails = open_thumbnails(tmp_path / "data", slices)
    pairs = across_labels(slices, thumbnails, coordinates(thumbnails), above=0.95)
    names = {frozenset(slices["path"].iloc[list(pair[:2])]) for pair in pairs}
    assert frozenset({"Cyst/Cyst- (2).png", "Stone/Stone- (70).png"}) in names
    assert all(slices["label"][a] != slices["label"][b] for a, b, _ in pairs)
    assert [pair[2] for pair in pairs] == sorted((pair[2] for pair in pairs), reverse=True)
    assert across_labels(slices, thumbnails, coordinates(thumbnails), above=1.1) == []


def test_of_one_label_there_are_no_near_duplicates() -> None:
    slices = manifest_of({"cyst": [4] * 20})
    assert across_labels(slices, LOOKS, coordinates(LOOKS), above=0.5) == []
