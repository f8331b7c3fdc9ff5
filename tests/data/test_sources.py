"""Where raw files come from, and the errors where they cannot be had."""

import hashlib
import io
import socket
import tarfile
import zipfile
from pathlib import Path

import pytest

from kidney.data.sources import fetch
from kidney.errors import DataError
from tests.helpers.data_slices import content
from tests.helpers.web import serving


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


def test_links_in_a_folder_are_neither_followed_nor_dropped(
    source: Path, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "secret.png").write_bytes(b"secret")
    (source / "Cyst" / "link.png").symlink_to(tmp_path / "secret" / "secret.png")
    (source / "Stone" / "gone.png").symlink_to(tmp_path / "gone.png")
    (source / "linked").symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match=r"3 of them are symbolic links.* Cyst/link\.png") as caught:
        fetch(folder, source=str(source))
    assert f"cp -rL {source} COPY" in caught.value.remedy
    assert not any(folder.iterdir())


def test_a_link_to_the_folder_itself_is_a_source(
    source: Path, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "here").symlink_to(source)
    fetch(folder, source=str(tmp_path / "here"))
    assert content(folder) == content(source)


def test_a_folder_may_be_called_by_a_number(
    source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.rename(source.with_name("2023"))
    monkeypatch.chdir(source.parent)
    fetch(folder, source=2023)  # as Hydra reads data.source=2023
    assert len(content(folder)) == 48


@pytest.mark.parametrize("source", ["", None])
def test_a_set_without_a_source_asks_for_one(folder: Path, source: str | None) -> None:
    with pytest.raises(DataError, match=r"none is given(.|\n)*data\.source=PATH"):
        fetch(folder, source=source)


@pytest.mark.parametrize("name", ["nowhere.zip", "nowhere", "ftp:set"])
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
    tries = []

    def unreachable(*address: object, **__: object) -> None:
        tries.append(address)
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    with pytest.raises(DataError, match="Kaggle cannot be reached") as caught:
        fetch(folder, source="kaggle:somebody/some-set")
    assert tries == [(("www.kaggle.com", 443),)]
    assert "somebody/some-set" in caught.value.problem
    assert_names_the_three_ways(caught.value)
    assert not any(folder.iterdir())


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return buffer.getvalue()


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize("page", ["set.zip", "set.zip?download=1", "files/download"])
def test_an_archive_on_the_web_is_kept_beside_the_folder_and_unpacked(
    source: Path, folder: Path, page: str
) -> None:
    with serving(data := zipped(content(source))) as web:
        url = web.url.replace("set.zip", page)
        for _ in range(2):  # the second time from the disk
            fetch(folder, source=url, sha256=hashlib.sha256(data).hexdigest())
            assert content(folder) == content(source)
            for path in sorted(folder.rglob("*"), reverse=True):
                path.unlink() if path.is_file() else path.rmdir()
        assert len(web.asked) == 1
    (kept,) = (folder.parent / "downloads").glob(f"*-{page.partition('?')[0].rpartition('/')[2]}")
    assert kept.read_bytes() == data


@pytest.mark.usefixtures("online")
def test_an_archive_without_a_hash_is_downloaded_once_for_each_address(
    source: Path, folder: Path, tmp_path: Path
) -> None:
    with serving(zipped(content(source))) as web:
        urls = [
            f"{web.url}?id=1",
            f"{web.url.replace('://', '://user:word@')}?id=1",
            f"{web.url}?id=2",
        ]
        for number, url in enumerate(urls):
            (tmp_path / str(number)).mkdir()
            fetch(tmp_path / str(number), source=url, downloads=folder)
        assert [asked["path"][-1] for asked in web.asked] == ["1", "2"]
    assert len(list(folder.iterdir())) == 2


@pytest.mark.usefixtures("online")
def test_where_downloads_are_kept_can_be_chosen(source: Path, folder: Path, tmp_path: Path) -> None:
    with serving(zipped(content(source))) as web:
        fetch(folder, source=web.url, downloads=tmp_path / "elsewhere")
    assert len(list((tmp_path / "elsewhere").glob("*-set.zip"))) == 1
    assert not (tmp_path / "downloads").exists()


@pytest.mark.usefixtures("online")
def test_a_page_in_place_of_the_archive_is_reported_and_not_kept(folder: Path) -> None:
    with serving(b"<html>Log in</html>") as web, pytest.raises(DataError, match="login"):
        fetch(folder, source=web.url + "?token=secret")
    assert not any((folder.parent / "downloads").iterdir())


@pytest.mark.usefixtures("online")
def test_a_broken_archive_from_the_web_says_what_to_delete(folder: Path) -> None:
    with serving(b"PK but no zip") as web, pytest.raises(DataError) as caught:
        fetch(folder, source=web.url)
    (kept,) = (folder.parent / "downloads").iterdir()
    assert f"delete {kept}" in caught.value.remedy


@pytest.mark.usefixtures("online")
def test_an_address_of_another_kind_of_file_is_not_asked(folder: Path) -> None:
    with serving(b"Rar!") as web:
        with pytest.raises(DataError, match="to be an archive") as caught:
            fetch(folder, source=web.url.replace(".zip", ".rar") + "?token=secret")
        assert not web.asked
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["..", "%2e%2e", "..%2f..%2fevil.zip", ".hidden.zip", "", "%00.zip"]
)
@pytest.mark.usefixtures("online")
def test_no_name_on_the_web_leads_out_of_the_downloads(
    source: Path, folder: Path, tmp_path: Path, name: str
) -> None:
    with serving(zipped(content(source))) as web:
        fetch(folder, source=web.url.replace("set.zip", name))
    downloads = tmp_path / "downloads"
    assert len([path for path in downloads.iterdir() if path.name[0] != "."]) == 1
    assert set(tmp_path.iterdir()) == {downloads, folder, source}


@pytest.mark.parametrize("good", [True, False])
def test_the_hash_of_an_archive_is_checked(
    source: Path, folder: Path, tmp_path: Path, good: bool
) -> None:
    data = zipped(content(source))
    (tmp_path / "set.zip").write_bytes(data)
    digest = hashlib.sha256(data if good else b"other").hexdigest()
    if good:
        fetch(folder, source=str(tmp_path / "set.zip"), sha256=digest.upper())
        assert content(folder) == content(source)
    else:
        with pytest.raises(DataError, match=f"SHA-256 {digest}, but it has"):
            fetch(folder, source=str(tmp_path / "set.zip"), sha256=digest)
        assert not any(folder.iterdir())


def test_the_hash_of_what_has_none_is_refused_rather_than_not_checked(
    source: Path, folder: Path
) -> None:
    for name in (str(source), "kaggle:somebody/some-set"):
        with pytest.raises(DataError, match="sha256 is that of an archive"):
            fetch(folder, source=name, sha256="0" * 64)
    assert not any(folder.iterdir())


def assert_names_the_three_ways(error: DataError) -> None:
    for way in ("data.source=PATH.zip", "data=phantom", "model.weights=PATH"):
        assert way in error.remedy
