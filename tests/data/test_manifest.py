"""The manifest is the only list of slices: what is wrong with it is said when it is read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kidney.data.manifest import (
    COLUMNS,
    REJECTED_COLUMNS,
    fingerprint,
    read_manifest,
    read_rejected,
    write_manifest,
)
from kidney.errors import DataError
from tests.helpers.data_slices import manifest_of

NONE = pd.DataFrame(columns=REJECTED_COLUMNS)


@pytest.fixture
def slices() -> pd.DataFrame:
    return manifest_of({"cyst": [2, 3], "stone": [1]})


def test_a_manifest_reads_back_as_it_was_written(tmp_path: Path, slices: pd.DataFrame) -> None:
    # What looks like a number or like nothing is a name all the same.
    slices["origin"], slices.loc[0, "scan"], slices.loc[0, "label"] = "007", "0012", "None"
    slices.loc[1, "path"] = 'a, "b" (1).png'
    write_manifest(tmp_path, slices, NONE, NONE)
    pd.testing.assert_frame_equal(read_manifest(tmp_path), slices[COLUMNS])
    assert fingerprint(read_manifest(tmp_path)) == fingerprint(slices)


NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)


@settings(max_examples=50, deadline=None)
@given(data=st.data(), sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_whatever_slices_are_called_they_read_back(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, sizes: list[int]
) -> None:
    slices = manifest_of({"cyst": sizes})
    for column in ("label", "scan", "patient", "phase", "plane", "origin"):
        slices[column] = data.draw(NAMES)
    paths = data.draw(st.lists(NAMES, min_size=len(slices), max_size=len(slices), unique=True))
    slices["path"], slices["window"] = paths, data.draw(st.sampled_from(["", "400/40"]))
    slices["pixel_mm"] = data.draw(st.sampled_from([0.7, np.nan]))
    folder = tmp_path_factory.mktemp("names")
    write_manifest(folder, slices, NONE, NONE)
    again = read_manifest(folder)
    pd.testing.assert_frame_equal(again[COLUMNS], slices[COLUMNS])
    assert fingerprint(again) == fingerprint(slices)


def test_the_refused_files_read_back(tmp_path: Path, slices: pd.DataFrame) -> None:
    rejected = pd.DataFrame(
        [("Cyst/a, b.png", 'says "no"', ""), ("scout", "a localizer", "yes")],
        columns=REJECTED_COLUMNS,
    )
    write_manifest(tmp_path, slices, rejected, NONE)
    pd.testing.assert_frame_equal(read_rejected(tmp_path), rejected)


def test_a_missing_manifest_names_the_station_before(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is none(.|\n)*scripts/ingest\.py"):
        read_manifest(tmp_path)
    with pytest.raises(DataError, match=r"there is none(.|\n)*scripts/ingest\.py"):
        read_rejected(tmp_path)


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_named(tmp_path: Path, slices: pd.DataFrame, column: str) -> None:
    slices.drop(columns=column).to_csv(tmp_path / "manifest.csv", index=False)
    with pytest.raises(DataError, match=rf"misses .*{column}"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff\xe0 a picture", b'"a\n1,2,3\n4'])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "manifest.csv").write_bytes(data)
    with pytest.raises(DataError, match=r"cannot be read|misses"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda slices: slices[:0], "is empty"),
        (lambda slices: pd.concat([slices, slices[:1]]), "names a slice twice"),
        (lambda slices: slices.assign(label=[None, *slices["label"][1:]]), "empty cells"),
        (lambda slices: slices.assign(width="wide"), "cannot be read"),
    ],
)
def test_a_spoilt_manifest_is_refused(
    tmp_path: Path,
    slices: pd.DataFrame,
    spoil: Callable[[pd.DataFrame], pd.DataFrame],
    problem: str,
) -> None:
    spoil(slices).to_csv(tmp_path / "manifest.csv", index=False)
    with pytest.raises(DataError, match=problem):
        read_manifest(tmp_path)


@pytest.mark.parametrize("column", ["path", "label", "scan", "sha256"])
def test_the_fingerprint_changes_with_every_column_that_matters(
    slices: pd.DataFrame, column: str
) -> None:
    changed = slices.copy()
    changed.loc[2, column] = "another"
    assert fingerprint(changed) != fingerprint(slices)
    assert fingerprint(slices.copy()) == fingerprint(slices)


def test_the_fingerprint_changes_when_a_slice_goes(slices: pd.DataFrame) -> None:
    assert fingerprint(slices[1:]) != fingerprint(slices)
