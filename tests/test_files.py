"""Files and folders that appear whole or not at all."""

import os
import shutil
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from kidney.files import locked, parse_json, sha256, whole_file, whole_folder, write_text


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


def left_behind(path: Path, process: int, hours: float) -> Path:
    """Make what a process leaves that is killed while it writes `path`."""
    file = path.with_name(f".{path.name}.{process}.partial")
    file.write_text("half")
    then = time.time() - hours * 3600
    os.utime(file, (then, then))
    return file


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_a_killed_writer_left_is_removed_by_the_next_writer_of_that_name(
    tmp_path: Path,
) -> None:
    path = tmp_path / "re[port].txt"
    stale = left_behind(path, dead_process(), hours=2)
    others = {
        left_behind(path, os.getppid(), hours=2),  # still at work
        left_behind(path, dead_process(), hours=0.5),  # perhaps of another machine, and at work
        left_behind(tmp_path / "other.txt", dead_process(), hours=2),
        tmp_path / ".re[port].txt.partial",  # of whole_folder
    }
    (tmp_path / ".re[port].txt.partial").mkdir()
    write_text(path, "new")
    assert not stale.exists()
    assert set(tmp_path.iterdir()) == {path, *others}


def test_another_process_waits_for_the_lock(tmp_path: Path) -> None:
    lock, order = tmp_path / "new" / ".lock", tmp_path / "order"
    command = (
        "import sys, pathlib, kidney.files as f\n"
        "lock, order = map(pathlib.Path, sys.argv[1:])\n"
        "with f.locked(lock, 'waiting'): order.open('a').write('other')"
    )
    with locked(lock, ""):
        other = subprocess.Popen(
            [sys.executable, "-c", command, lock, order], stderr=subprocess.PIPE, text=True
        )
        assert other.stderr is not None
        assert other.stderr.readline() == "waiting\n"
        order.write_text("first ")
    assert other.wait() == 0
    other.stderr.close()
    assert order.read_text() == "first other"


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


@dataclass(frozen=True)
class Point:
    x: int


def test_a_record_is_read_from_json_or_its_problems_are_named():
    assert parse_json(Point, '{"x": 1}') == Point(1)
    for text, problem in (("{}", "x: Field required"), ("{", "text: Invalid JSON")):
        with pytest.raises(ValueError, match=problem):
            parse_json(Point, text)
