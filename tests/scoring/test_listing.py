"""What is listed, in which order, and in which chunks."""

import os
from pathlib import Path
from typing import Any

import pytest

from kidney.errors import DataError
from kidney.scoring.listing import MAX_FILES, Chunk, File, chunks, list_archive


def paths(archive: Path | str) -> list[str]:
    return [file.path for file in list_archive(str(archive))]


def many(count: int) -> list[File]:
    return [File(f"/archive/{number:05}.dcm", "1 1") for number in range(count)]


def chunked(files: list[File], recipe: str = "model") -> list[Chunk]:
    return list(chunks(files, recipe))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b/2.dcm", "b/1.dcm", "a/deep/er/3", "c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_a_folder_is_listed_at_any_depth_in_an_order_that_stays(folder: Path) -> None:
    expected = [str(folder / name) for name in ("a/deep/er/3", "b/1.dcm", "b/2.dcm", "c.jpg")]
    assert paths(folder) == expected


def test_a_list_names_files_and_folders_from_where_it_lies(folder: Path) -> None:
    text = folder / "studies.txt"
    text.write_text("b\n\nc.jpg\nmissing.dcm\n")
    expected = [str(folder / name) for name in ("b/1.dcm", "b/2.dcm", "c.jpg", "missing.dcm")]
    assert paths(text) == expected
    table = folder / "studies.csv"
    table.write_text('patient,path\n1,b\n2,c.jpg\n3,"missing.dcm"\n')
    assert paths(table) == expected


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("list.csv", b"file\n1.dcm\n", "to have a column path"),
        ("scan.zip", b"PK\x03\x04\xff\xff", "it is no text"),
        (None, b"", "Expected a folder or a list"),
    ],
)
def test_what_is_no_archive_is_reported(
    tmp_path: Path, name: str | None, content: bytes, problem: str
) -> None:
    if name:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=problem):
        paths(tmp_path / (name or "nowhere"))


def test_a_folder_in_s3_is_listed_at_any_depth(s3: Any) -> None:
    for number in range(10):
        s3.put_object(Bucket="hospital", Key=f"pages/{number:04}", Body=b"x")
    for name in ("pages/", "pages2/other", "pages/sub/é #1", "pages/sub//2"):
        s3.put_object(Bucket="hospital", Key=name, Body=b"x")
    found = list(list_archive("s3://hospital/pages"))
    names = [f"{number:04}" for number in range(10)] + ["sub//2", "sub/é #1"]
    assert [file.path for file in found] == [f"s3://hospital/pages/{name}" for name in names]
    assert list(list_archive("s3://hospital/pages/")) == found
    s3.put_object(Bucket="hospital", Key="pages/0000", Body=b"xx")
    assert [old for old, new in zip(found, list_archive("s3://hospital/pages"), strict=True)
            if old != new] == found[:1]  # fmt: skip


def test_a_list_names_objects_and_prefixes(s3: Any, tmp_path: Path) -> None:
    for name in ("studies/1/a", "studies/1/b", "studies/2/a"):
        s3.put_object(Bucket="hospital", Key=name, Body=b"x")
    text = tmp_path / "list.txt"
    text.write_text("s3://hospital/studies/1/\ns3://hospital/studies/2/a\n")
    assert paths(text) == [f"s3://hospital/studies/{name}" for name in ("1/a", "1/b", "2/a")]


def test_every_file_is_in_one_chunk_and_no_chunk_is_large() -> None:
    files = many(3000)
    found = chunked(files)
    assert [path for chunk in found for path in chunk.paths] == [file.path for file in files]
    assert max(len(chunk.paths) for chunk in found) <= MAX_FILES
    assert len({chunk.id for chunk in found}) == len(found)
    assert chunked(files) == found


def test_a_file_that_comes_changes_few_chunks() -> None:
    files = many(3000)
    before = {chunk.id for chunk in chunked(files)}
    added = [*files[:1500], File("/archive/01499b.dcm", "1 1"), *files[1500:]]
    after = {chunk.id for chunk in chunked(added)}
    assert 1 <= len(after - before) <= 4


@pytest.mark.parametrize("what", ["content", "model"])
def test_another_content_or_model_is_another_chunk(what: str) -> None:
    files = many(10)
    changed = [*files[:9], File(files[9].path, "2 1")] if what == "content" else files
    after = chunked(changed, "other" if what == "model" else "model")
    assert {chunk.id for chunk in chunked(files)}.isdisjoint({chunk.id for chunk in after[-1:]})


def test_a_name_that_is_no_text_has_its_place(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"slice\xff.dcm")).write_bytes(b"x")
    (chunk,) = chunks(list_archive(str(tmp_path)), "")
    assert os.fsencode(chunk.paths[0]).endswith(b"slice\xff.dcm")
