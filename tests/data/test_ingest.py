"""Ingest lists what can be used, says what cannot, and never spoils what was there."""

import hashlib
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kidney.data.cache import open_cache
from kidney.data.ingest import ingest
from kidney.data.manifest import read_manifest, read_rejected
from kidney.errors import DataError
from tests.helpers.data_slices import CLASSES, content, scan, take, write_tree


def test_every_picture_gets_a_row(data: Path) -> None:
    slices = read_manifest(data)
    assert len(slices) == 48
    assert slices["label"].value_counts().to_dict() == dict.fromkeys(CLASSES, 12)
    assert slices.groupby("scan").size().to_list() == [3] * 16
    assert set(slices["origin"]) == {"source"}
    for row in slices.itertuples():
        data_of_file = (data / "raw" / row.path).read_bytes()
        assert row.sha256 == hashlib.sha256(data_of_file).hexdigest()
        assert (row.width, row.height) == Image.open(data / "raw" / row.path).size
        assert str(row.path).startswith(CLASSES[str(row.label)] + "/")
    assert read_rejected(data).empty


def test_rows_are_in_natural_order(data: Path) -> None:
    cysts = [path for path in read_manifest(data)["path"] if path.startswith("Cyst/")]
    assert cysts == [f"Cyst/Cyst- ({number}).png" for number in range(1, 13)]


def test_a_second_ingest_of_the_same_source_gives_the_same_manifest(
    data: Path, source: Path
) -> None:
    before = content(data)
    take(data, source)
    assert content(data) == before


def test_class_folders_may_lie_deep(tmp_path: Path) -> None:
    write_tree(tmp_path / "source" / "CT-KIDNEY" / "CT-KIDNEY")  # as the Kaggle archive nests them
    slices = take(tmp_path / "data", tmp_path / "source")
    assert slices["label"].value_counts().to_dict() == dict.fromkeys(CLASSES, 12)
    assert slices["path"][0] == "CT-KIDNEY/CT-KIDNEY/Cyst/Cyst- (1).png"
    assert slices["scan"].nunique() == 16


def test_a_new_source_replaces_the_old_one(data: Path, tmp_path: Path) -> None:
    take(data, write_tree(tmp_path / "other", scans=1, slices=2))
    slices = read_manifest(data)
    assert len(slices) == len(content(data / "raw")) == 8
    assert set(slices["origin"]) == {"other"}
    assert len(list(data.glob("slices-*.u8"))) == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Cyst/Cyst- (99).jpg", "content is none of them"),
        ("Cyst/empty- (1).jpg", "is empty"),
        ("Cyst/short- (1).png", "cannot be decoded"),
        ("Cyst/tiny.png", "at least 32 pixels"),
        ("Cyst/Tumor- (3).png", "the folder says cyst, the name says tumor"),
        ("Elsewhere/Cyst- (1).png", "in no folder of a class"),
        ("Cyst- (1).png", "in no folder of a class"),
        (os.fsdecode(b"Cyst/Cyst-\xff (98).png"), "no name that a table can hold"),
        ("Cyst/Cyst-\r (98).png", "no name that a table can hold"),
        ("Cyst/Cyst- (97).png", "one grey everywhere"),
    ],
)
def test_a_file_that_is_no_usable_slice_is_reported_and_left_out(
    source: Path, tmp_path: Path, name: str, reason: str
) -> None:
    good = (source / "Cyst" / "Cyst- (1).png").read_bytes()
    tiny = tmp_path / "tiny.png"
    Image.fromarray(scan(5)[0][:16, :16]).save(tiny)
    even = tmp_path / "even.png"
    Image.fromarray(np.full((64, 64), 7, np.uint8)).save(even)
    contents = {
        "Cyst/Cyst- (97).png": even.read_bytes(),
        "Cyst/Cyst- (99).jpg": b"<html>404</html>",
        "Cyst/empty- (1).jpg": b"",
        "Cyst/short- (1).png": good[: len(good) // 2],
        "Cyst/tiny.png": tiny.read_bytes(),
    }
    (source / name).parent.mkdir(exist_ok=True)
    (source / name).write_bytes(contents.get(name, good))
    slices = take(tmp_path / "data", source)
    assert len(slices) == len(read_manifest(tmp_path / "data")) == 48
    assert name not in set(slices["path"])
    rejected = read_rejected(tmp_path / "data")
    assert len(rejected) == 1
    assert reason in rejected["reason"][0]
    assert (
        rejected["path"][0]
        == name.replace("\r", r"\r").encode("utf-8", "backslashreplace").decode()
    )


def test_other_files_and_ignored_folders_are_no_slices(source: Path, tmp_path: Path) -> None:
    (source / "kidneyData.csv").write_text("path,label\n")
    shutil.copytree(source / "Cyst", source / "masks" / "Cyst")
    assert len(take(tmp_path / "data", source, ignore=["masks"])) == 48
    assert read_rejected(tmp_path / "data").empty


def test_copies_are_kept_and_lie_in_one_scan(source: Path, tmp_path: Path) -> None:
    shutil.copy(source / "Cyst" / "Cyst- (2).png", source / "Cyst" / "Cyst- (70).png")
    slices = take(tmp_path / "data", source).set_index("path")
    original, copy = slices.loc["Cyst/Cyst- (2).png"], slices.loc["Cyst/Cyst- (70).png"]
    assert original["sha256"] == copy["sha256"]
    assert original["scan"] == copy["scan"]


def bad_source(kind: str, folder: Path) -> Path:
    """Make a source that fails late: some of it has been written or read by then."""
    tree = write_tree(folder / "tree", scans=1)
    path = folder / "set.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name, data in content(tree).items():
            packed.writestr(name, data)
        if kind == "hostile":
            packed.writestr("../evil.png", b"evil")
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-200])
    if kind == "no slices":
        (folder / "empty" / "Cyst").mkdir(parents=True)
        (folder / "empty" / "Cyst" / "Cyst- (1).png").write_bytes(b"no picture")
        return folder / "empty"
    return folder / "gone.zip" if kind == "gone" else path


@pytest.mark.parametrize("kind", ["hostile", "truncated", "no slices", "gone"])
def test_a_source_that_fails_leaves_nothing(tmp_path: Path, kind: str) -> None:
    bad = bad_source(kind, tmp_path)
    with pytest.raises(DataError):
        take(tmp_path / "data", bad)
    assert content(tmp_path / "data") == {}
    assert not (tmp_path / "evil.png").exists()


@pytest.mark.parametrize("kind", ["hostile", "truncated", "no slices", "gone"])
def test_a_source_that_fails_leaves_an_earlier_ingest_as_it_was(
    data: Path, tmp_path: Path, kind: str
) -> None:
    before = content(data)
    with pytest.raises(DataError):
        take(data, bad_source(kind, tmp_path))
    assert content(data) == before


def test_a_cut_off_download_leaves_an_earlier_ingest_as_it_was(data: Path) -> None:
    before = content(data)

    def cut_off(folder: Path) -> None:
        (folder / "Cyst").mkdir()
        (folder / "Cyst" / "Cyst- (1).png").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(data, fetch=cut_off, read=list, origin="cut off", classes=list(CLASSES))
    assert content(data) == before


@pytest.fixture(scope="module")
def mini(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mini")
    take(folder, shared / "data" / "ct-kidney-mini.zip")
    return folder


def test_of_the_real_set_every_slice_is_read(mini: Path) -> None:
    slices = read_manifest(mini)
    assert slices["label"].value_counts().to_dict() == dict.fromkeys(CLASSES, 30)
    assert read_rejected(mini).empty
    assert set(slices["origin"]) == {"ct-kidney-mini.zip"}
    cache = open_cache(mini, slices)
    shapes = pd.DataFrame([cache[row].shape for row in range(120)], columns=["height", "width"])
    pd.testing.assert_frame_equal(shapes, slices[["height", "width"]])
    assert all(np.ptp(cache[row]) > 100 for row in range(120))


def test_of_the_real_set_the_scans_are_found(mini: Path) -> None:
    slices = read_manifest(mini)
    assert slices.groupby("label")["scan"].nunique().to_dict() == dict.fromkeys(CLASSES, 5)
    assert slices.groupby("scan").size().to_list() == [6] * 20
    numbers = slices["path"].str.extract(r"\((\d+)\)")[0].astype(int)
    spread = numbers.groupby(slices["scan"]).agg(lambda n: n.max() - n.min())
    assert (spread == 5).all(), "the slices of each scan are consecutive"
