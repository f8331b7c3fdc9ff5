"""Objects are read, listed, written and removed by their names."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kidney.errors import DataError
from kidney.remote import object_store
from kidney.remote.http import RefusedError
from kidney.remote.object_store import (
    download_object,
    is_object,
    list_objects,
    read_object,
    remove_object,
    write_object,
)
from tests.helpers.s3_server import s3_server

NAME = "s3://bucket/a b/é #?%41"


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with s3_server("bucket") as client:
        client.create_bucket(
            Bucket="small", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        yield client


@pytest.mark.usefixtures("s3")
def test_an_object_comes_back_as_it_was_written(tmp_path: Path) -> None:
    steps: list[tuple[int, int | None]] = []
    write_object(NAME, b"bytes")
    write_object(NAME, b"other bytes")
    assert read_object(NAME) == b"other bytes"
    download_object(NAME, tmp_path / "it", lambda *step: steps.append(step))
    assert (tmp_path / "it").read_bytes() == b"other bytes"
    assert steps == [(11, 11)]
    for _ in range(2):
        remove_object(NAME)
    with pytest.raises(RefusedError, match=r"é #\?%41 was refused: HTTP 404"):
        read_object(NAME)


@pytest.mark.usefixtures("s3")
def test_a_bucket_and_a_folder_are_listed() -> None:
    names = [f"s3://small/{name}" for name in ("a/1", "a/b/2", "ab/3")]
    for name in names:
        write_object(name, b"x")
    assert [name for name, _ in list_objects("s3://small")] == names
    assert [name for name, _ in list_objects("s3://small/a/")] == names[:2]
    assert list_objects("s3://small/none") == []


@pytest.mark.usefixtures("s3")
def test_an_object_that_is_too_large_is_not_read() -> None:
    write_object("s3://bucket/large", b"x" * 11)
    with pytest.raises(RefusedError, match="at most 10 bytes, but it has 11") as caught:
        read_object("s3://bucket/large", 10)
    assert caught.value.status == 413


@pytest.mark.parametrize("name", ["s3://", "s3://bucket", "s3:///key"])
def test_a_name_without_bucket_or_key_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="s3://BUCKET/KEY"):
        read_object(name)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("AWS Error ACCESS_DENIED during HeadObject operation: No response body.", 403),
        ("AWS Error UNKNOWN (HTTP status 400) during HeadObject operation", 400),
        ("AWS Error NETWORK_CONNECTION during HeadObject operation: curlCode: 7", None),
    ],
)
def test_a_refusal_differs_from_a_store_that_is_out_of_reach(
    monkeypatch: pytest.MonkeyPatch, text: str, status: int | None
) -> None:
    def fail(_: str) -> None:
        raise OSError(text)

    monkeypatch.setattr(object_store, "_connect", fail)
    with pytest.raises(DataError) as caught:
        read_object("s3://bucket/key")
    assert getattr(caught.value, "status", None) == status


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("gs://bucket/key", "GcsFileSystem"),
        ("abfs://box@account.dfs.core.windows.net/a/key", "AzureFileSystem"),
    ],
)
def test_other_stores_are_known_by_their_names(name: str, kind: str) -> None:
    assert is_object(name)
    with object_store._open(name) as (filesystem, path):
        assert type(filesystem).__name__ == kind
        assert path in ("bucket/key", "box/a/key")
    assert not is_object("https://bucket/key")
