"""Where raw files come from, and what is said where they cannot be had."""

import io
import socket
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from kidney.data.sources import fetch
from kidney.errors import DataError
from tests.data.slices import content


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fetched").mkdir()
    return tmp_path / "fetched"


def test_a_folder_is_copied_as_it_is(source: Path, folder: Path) -> None:
    fetch(folder, source=str(source))
    assert content(folder) == content(source)
    assert len(content(folder)) == 48


def test_a_zip_is_unpacked(source: Path, folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as packed:
        for name, data in content(source).items():
            packed.writestr(name, data)
    fetch(folder, source=str(tmp_path / "set.zip"))
    assert content(folder) == content(source)


def test_a_tar_is_unpacked(source: Path, folder: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "set.tar.gz", "w:gz") as packed:
        for name, data in content(source).items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))
    fetch(folder, source=str(tmp_path / "set.tar.gz"))
    assert content(folder) == content(source)


def test_a_link_in_a_folder_is_not_followed(source: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "secret.png").write_bytes(b"secret")
    (source / "Cyst" / "link.png").symlink_to(tmp_path / "secret" / "secret.png")
    (source / "linked").symlink_to(tmp_path / "secret")
    fetch(folder, source=str(source))
    assert b"secret" not in content(folder).values()
    assert len(content(folder)) == 48


@pytest.mark.parametrize("name", ["nowhere.zip", "nowhere", "ftp:set", ""])
def test_an_unknown_source_names_the_three_ways(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="found nothing") as caught:
        fetch(folder, source=name)
    assert_names_the_three_ways(caught.value)
    assert not any(folder.iterdir())


def test_a_file_of_another_kind_is_no_source(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "set.rar").write_bytes(b"Rar!")
    with pytest.raises(DataError, match="a file of another kind") as caught:
        fetch(folder, source=str(tmp_path / "set.rar"))
    assert_names_the_three_ways(caught.value)


def test_without_a_network_kaggle_is_given_up_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    start = time.monotonic()
    with pytest.raises(DataError, match="Kaggle cannot be reached") as caught:
        fetch(folder, source="kaggle:somebody/some-set")
    assert time.monotonic() - start < 2
    assert "somebody/some-set" in caught.value.problem
    assert_names_the_three_ways(caught.value)
    assert not any(folder.iterdir())


def assert_names_the_three_ways(error: DataError) -> None:
    for way in ("data.source=PATH.zip", "data=phantom", "model.weights=PATH"):
        assert way in error.remedy
