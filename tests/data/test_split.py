"""A split is decided once, by patient, and a file that breaks its promise is not read."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kidney.data.split import (
    PARTS,
    Split,
    assign_folds,
    make_split,
    parts_of,
    patients_that_cross,
    read_split,
    split_fingerprint,
    split_path,
    write_split,
)
from kidney.errors import ConfigError, DataError
from tests.helpers.data_slices import manifest_of

SIZES = st.lists(st.integers(1, 5), min_size=5, max_size=13)
MANIFESTS = st.dictionaries(st.sampled_from(["cyst", "normal", "stone"]), SIZES, min_size=1).map(
    manifest_of
)
FOLDS, SEEDS = st.integers(3, 5), st.integers(0, 2**32)
SLICES = manifest_of({"cyst": [3] * 7, "stone": [1, 2, 3, 4, 5]})


def split_of(slices: pd.DataFrame, folds: int, seed: int) -> Split:
    return make_split("by_patient", slices, folds, seed)


@settings(max_examples=25, deadline=None)
@given(slices=MANIFESTS, folds=FOLDS, seed=SEEDS)
def test_no_scan_crosses_the_parts_and_every_slice_has_one(
    slices: pd.DataFrame, folds: int, seed: int
) -> None:
    split = split_of(slices, folds, seed)
    for fold in range(folds):
        parts = parts_of(slices, split, fold)
        assert parts.index.equals(slices.index)
        assert set(parts) == set(PARTS)
        assert (parts.groupby(slices["patient"]).nunique() == 1).all()


@settings(max_examples=25, deadline=None)
@given(slices=MANIFESTS, folds=FOLDS, seed=SEEDS)
def test_every_slice_is_tested_once_and_validated_once(
    slices: pd.DataFrame, folds: int, seed: int
) -> None:
    split = split_of(slices, folds, seed)
    parts = pd.concat([parts_of(slices, split, fold) for fold in range(folds)], axis=1)
    assert ((parts == "test").sum(axis=1) == 1).all()
    assert ((parts == "val").sum(axis=1) == 1).all()


@settings(max_examples=25, deadline=None)
@given(slices=MANIFESTS, folds=FOLDS, seed=SEEDS)
def test_the_scans_of_each_class_are_assigned_evenly(
    slices: pd.DataFrame, folds: int, seed: int
) -> None:
    fold_of = assign_folds(slices, folds, seed, by_patient=True)
    scans = slices.drop_duplicates("scan")
    for _, of_class in scans.groupby("label"):
        counts = of_class["scan"].map(fold_of).value_counts().reindex(range(folds), fill_value=0)
        assert counts.max() - counts.min() <= 1


@settings(max_examples=25, deadline=None)
@given(slices=MANIFESTS, folds=FOLDS, seed=SEEDS, data=st.data())
def test_the_phases_and_views_of_each_class_are_assigned_evenly(
    slices: pd.DataFrame, folds: int, seed: int, data: st.DataObject
) -> None:
    scans = slices.drop_duplicates("scan").reset_index(drop=True)
    size = len(scans)
    for column, values in (("phase", ["enhanced", "plain"]), ("plane", ["axial", "coronal"])):
        drawn = data.draw(st.lists(st.sampled_from(values), min_size=size, max_size=size))
        slices[column] = slices["scan"].map(dict(zip(scans["scan"], drawn, strict=True)))
    fold_of = assign_folds(slices, folds, seed, by_patient=True)
    for _, alike in slices.drop_duplicates("scan").groupby(["label", "phase", "plane"]):
        counts = alike["scan"].map(fold_of).value_counts().reindex(range(folds), fill_value=0)
        assert counts.max() - counts.min() <= 1


def test_all_scans_of_a_patient_lie_in_one_part() -> None:
    slices = SLICES.copy()
    slices["patient"] = slices["scan"].replace(
        {"cyst-0100": "cyst-0000", "stone-0100": "cyst-0000"}
    )
    for seed in range(5):
        parts = parts_of(slices, split_of(slices, 4, seed), 0)
        assert parts[slices["patient"] == "cyst-0000"].nunique() == 1


def with_patients(scans: dict[str, list[int]]) -> pd.DataFrame:
    """Make a manifest in which the n-th scans of all labels are of one patient."""
    slices = manifest_of(scans)
    slices["patient"] = "p" + slices["scan"].str[-4:]
    return slices


def test_a_label_that_most_patients_have_beside_others_can_be_assigned() -> None:
    # Five patients with normal and tumour slices, two with tumour alone, as in KiTS23.
    slices = with_patients({"tumor": [1] * 7, "normal": [1] * 5})
    split = split_of(slices, 5, 0)
    for fold in range(5):
        assert not patients_that_cross(slices, parts_of(slices, split, fold))


def test_a_patient_with_several_labels_counts_for_the_rarest() -> None:
    # Every patient has normal slices, as in sets that label slices; three have cysts.
    slices = with_patients({"normal": [2] * 9, "cyst": [1] * 3})
    fold_of = assign_folds(slices, 3, 0, by_patient=True)
    assert sorted(fold_of[f"p{number:04d}"] for number in (0, 100, 200)) == [0, 1, 2]


@settings(max_examples=25, deadline=None)
@given(slices=MANIFESTS, folds=FOLDS, seed=SEEDS)
def test_a_split_depends_on_the_seed_and_not_on_the_order_of_the_rows(
    slices: pd.DataFrame, folds: int, seed: int
) -> None:
    backwards = slices[::-1].reset_index(drop=True)
    assert assign_folds(slices, folds, seed, True) == assign_folds(backwards, folds, seed, True)


def test_another_seed_gives_another_split() -> None:
    assert len({json.dumps(assign_folds(SLICES, 5, seed, True)) for seed in range(5)}) == 5


def test_the_surplus_scans_do_not_all_go_to_the_first_folds() -> None:
    # 6 scans in 5 folds: the fold with two is drawn for each seed.
    counts = [
        list(assign_folds(manifest_of({"cyst": [1] * 6}), 5, s, True).values()) for s in range(20)
    ]
    assert {max(set(folds), key=folds.count) for folds in counts} == set(range(5))


def test_a_scan_of_two_classes_is_assigned_once() -> None:
    slices = SLICES.copy()
    slices.loc[0, "label"] = "stone"  # one slice of a scan of three cyst slices
    for fold in range(5):
        parts = parts_of(slices, split_of(slices, 5, 0), fold)
        assert not patients_that_cross(slices, parts)


def test_the_leaky_split_assigns_slices() -> None:
    parts = parts_of(SLICES, make_split("leaky", SLICES, 5, 0), 0)
    assert patients_that_cross(SLICES, parts)


@pytest.mark.parametrize("folds", [-1, 0, 1, 2])
def test_fewer_than_three_folds_are_refused(folds: int) -> None:
    with pytest.raises(ConfigError, match=r"split\.folds to be at least 3"):
        assign_folds(SLICES, folds, 0, by_patient=True)


@pytest.mark.parametrize(
    ("scans", "remedy"), [(4, r"use fewer folds: split\.folds=4\."), (2, r"Add scans of stone\.$")]
)
def test_fewer_scans_than_folds_are_refused(scans: int, remedy: str) -> None:
    slices = manifest_of({"cyst": [1] * 9, "stone": [9] * scans})
    with pytest.raises(DataError, match=rf"split\.folds to be at most .* of stone, {scans}") as e:
        assign_folds(slices, 5, 0, by_patient=True)
    assert pd.Series([e.value.remedy]).str.contains(remedy).all()


@pytest.mark.parametrize("fold", [-1, 5])
def test_a_fold_that_is_not_there_is_refused(fold: int) -> None:
    with pytest.raises(ConfigError, match=r"split\.fold to be 0 to 4"):
        parts_of(SLICES, split_of(SLICES, 5, 0), fold)


def test_one_test_fold_has_all_others_for_validation_in_turn() -> None:
    split = split_of(SLICES, 5, 0)
    test = parts_of(SLICES, split, 0) == "test"
    validated = pd.Series(0, index=SLICES.index)
    for validation_fold in range(1, 5):
        parts = parts_of(SLICES, split, 0, validation_fold)
        assert ((parts == "test") == test).all()
        validated += parts == "val"
    assert (validated[~test] == 1).all()
    assert (parts_of(SLICES, split, 0, 1) == parts_of(SLICES, split, 0)).all()


@pytest.mark.parametrize(
    ("validation_fold", "says"), [(5, r"validation_fold to be 0 to 4"), (0, "both are 0")]
)
def test_a_validation_fold_that_cannot_be_is_refused(validation_fold: int, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parts_of(SLICES, split_of(SLICES, 5, 0), 0, validation_fold)


@pytest.mark.parametrize("name", ["by_patient", "leaky"])
def test_a_split_reads_back_as_it_was_made(tmp_path: Path, name: str) -> None:
    path = write_split(tmp_path, name, SLICES, 5, 3)
    assert path == split_path(tmp_path, name)
    split = read_split(tmp_path, name, SLICES)
    assert split == make_split(name, SLICES, 5, 3)
    assert (split.name, split.folds, split.seed) == (name, 5, 3)
    before = path.read_bytes()
    assert write_split(tmp_path, name, SLICES, 5, 3).read_bytes() == before


def test_a_split_of_another_manifest_is_refused(tmp_path: Path) -> None:
    write_split(tmp_path, "by_patient", SLICES, 5, 0)
    relabelled = SLICES.copy()
    relabelled.loc[0, "label"] = "stone"
    with pytest.raises(DataError, match="another manifest"):
        read_split(tmp_path, "by_patient", relabelled)


def test_a_missing_split_names_the_command_before(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is none(.|\n)*scripts/split\.py split=by_patient"):
        read_split(tmp_path, "by_patient", SLICES)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"unit": "scan", "fold_of": []}'])
def test_a_file_that_is_no_split_is_refused(tmp_path: Path, text: str) -> None:
    write_split(tmp_path, "by_patient", SLICES, 5, 0).write_text(text)
    with pytest.raises(DataError, match="not a readable split"):
        read_split(tmp_path, "by_patient", SLICES)


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    split = json.loads(path.read_text())
    change(split)
    path.write_text(json.dumps(split))


@pytest.mark.parametrize(
    "change",
    [
        lambda split: split["fold_of"].pop("cyst-0000"),
        lambda split: split["fold_of"].update({"cyst-0000": 5}),
        lambda split: split["fold_of"].update({"cyst-0000": "test"}),
    ],
)
def test_a_split_that_leaves_a_scan_out_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    edit(write_split(tmp_path, "by_patient", SLICES, 5, 0), change)
    with pytest.raises(DataError, match="leaves 1 units without a fold"):
        read_split(tmp_path, "by_patient", SLICES)


def test_the_leaky_split_under_another_name_is_refused(tmp_path: Path) -> None:
    leaky = write_split(tmp_path, "leaky", SLICES, 5, 0)
    leaky.rename(split_path(tmp_path, "by_patient"))
    with pytest.raises(DataError, match="'by_patient', but it is 'leaky'"):
        read_split(tmp_path, "by_patient", SLICES)


def test_a_split_with_an_empty_part_is_refused() -> None:
    split = split_of(SLICES, 5, 0)
    split = replace(split, fold_of=dict.fromkeys(split.fold_of, 0))
    with pytest.raises(DataError, match="leaves nothing for train and val"):
        parts_of(SLICES, split, 0)


def test_the_fingerprint_changes_when_one_scan_changes_its_fold() -> None:
    split = split_of(SLICES, 5, 0)
    assert split_fingerprint(split) == split_fingerprint(split_of(SLICES, 5, 0))
    moved = {"cyst-0000": (split.fold_of["cyst-0000"] + 1) % 5}
    other = replace(split, fold_of={**split.fold_of, **moved})
    assert split_fingerprint(split) != split_fingerprint(other)
