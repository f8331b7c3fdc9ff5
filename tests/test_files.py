"""Files and folders that appear whole or not at all."""

import shutil
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from kidney.files import sha256, whole_file, whole_folder, write_text


def cut_off(whole: AbstractContextManager[Path]) -> None:
    """Begin to write a file or a folder, and be interrupted."""
    with whole as temporary:
        half = temporary / "half" if temporary.is_dir() else temporary
        half.write_text("half")
        raise KeyboardInterrupt


def test_a_file_has_its_name_only_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.txt"
    with whole_file(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.parent == path.parent, "a rename across file systems is no rename"
    assert path.read_text() == "half"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "report.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        cut_off(whole_file(path))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_replaces_the_old_one_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "raw"
    for name in ("first", "second"):
        with whole_folder(path) as temporary:
            (temporary / name).touch()
            assert not (path / name).exists()
    assert [file.name for file in path.iterdir()] == ["second"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("existed", [True, False])
def test_a_failed_folder_leaves_what_was_there(tmp_path: Path, existed: bool) -> None:
    path = tmp_path / "raw"
    if existed:
        path.mkdir()
        (path / "old").touch()
    with pytest.raises(KeyboardInterrupt):
        cut_off(whole_folder(path))
    assert [file.name for file in tmp_path.rglob("*")] == (["raw", "old"] if existed else [])


def test_what_a_killed_run_left_does_not_get_into_the_next_folder(tmp_path: Path) -> None:
    (tmp_path / ".raw.partial").mkdir()
    (tmp_path / ".raw.partial" / "stale").touch()
    with whole_folder(tmp_path / "raw") as temporary:
        (temporary / "new").touch()
    assert [file.name for file in tmp_path.rglob("*")] == ["raw", "new"]


def test_the_old_folder_comes_back_after_a_kill_between_the_two_renames(tmp_path: Path) -> None:
    path = tmp_path / "raw"
    (tmp_path / ".raw.replaced").mkdir()
    (tmp_path / ".raw.replaced" / "old").touch()
    with whole_folder(path):
        assert (path / "old").exists(), "and not only once the new one is there"


def test_the_old_folder_comes_back_where_the_new_one_cannot_take_its_name(tmp_path: Path) -> None:
    path = tmp_path / "raw"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(FileNotFoundError), whole_folder(path) as temporary:
        shutil.rmtree(temporary)
    assert [file.name for file in tmp_path.rglob("*")] == ["raw", "old"]


def test_text_is_written_as_utf_8(tmp_path: Path) -> None:
    write_text(tmp_path / "note.txt", "Zyste ß\n")
    assert (tmp_path / "note.txt").read_bytes() == "Zyste ß\n".encode()


def test_sha256_is_that_of_the_standard(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256(tmp_path / "abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
