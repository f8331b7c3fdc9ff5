"""Objects in S3, Google Cloud Storage and Azure, through pyarrow.fs.

A name is s3://BUCKET/KEY, gs://BUCKET/KEY or abfs(s)://CONTAINER@ACCOUNT.dfs.core.windows.net/KEY.
Accounts are found as each provider's own tools find them, for S3 also AWS_ENDPOINT_URL, which
`FileSystem.from_uri` heeds and `S3FileSystem` does not.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from kidney.errors import DataError
from kidney.remote.http import Progress, RefusedError

_BLOCK = 1 << 20  # bytes


def is_object(text: str) -> bool:
    """Tell whether the text begins like the name of an object."""
    return re.match(r"(s3|gs|abfss?)://", text) is not None


def list_objects(folder: str) -> list[tuple[str, str]]:
    """Return name and version of the objects below a folder, sorted; a bucket is a folder, too.

    Versions are size and time, which change with the content.

    Raises:
        DataError: as for `read_object`, and so for all that follow.
    """
    with _open(folder, is_folder=True) as (filesystem, path):
        from pyarrow.fs import FileSelector

        found = filesystem.get_file_info(FileSelector(path, recursive=True, allow_not_found=True))
    root = folder.rstrip("/")
    return sorted(
        (root + info.path.removeprefix(path), f"{info.size} {info.mtime_ns}")
        for info in found
        if info.is_file
    )


def read_object(name: str, max_bytes: int | None = None) -> bytes:
    """Return the object's bytes; one with more than `max_bytes` is refused with status 413.

    Raises:
        RefusedError: there is no such object (404), or the store refuses.
        DataError: pyarrow is not installed, or the store cannot be reached.
    """
    with _open(name) as (filesystem, path), filesystem.open_input_file(path) as file:
        if max_bytes is not None and (size := file.size()) > max_bytes:
            raise RefusedError(
                f"Expected {name} to have at most {max_bytes:,} bytes, but it has {size:,}.",
                "Name objects that hold slices.",
                413,
            )
        return bytes(file.read())


def download_object(name: str, path: Path, progress: Progress | None = None) -> None:
    """Write the object's bytes to `path`."""
    with _open(name) as (filesystem, key), filesystem.open_input_file(key) as file:
        done, size = 0, file.size()
        with path.open("wb") as out:
            while block := file.read(_BLOCK):
                done += out.write(block)
                if progress:
                    progress(done, size)


def write_object(name: str, data: bytes) -> None:
    """Put an object. S3 and Google show it whole or not at all, Azure one of no bytes meanwhile."""
    with _open(name) as (filesystem, path), filesystem.open_output_stream(path) as file:
        file.write(data)


def remove_object(name: str) -> None:
    """Remove an object, if it is there."""
    try:
        with _open(name) as (filesystem, path):
            filesystem.delete_file(path)
    except RefusedError as error:
        if error.status != 404:
            raise


@contextmanager
def _open(name: str, *, is_folder: bool = False) -> Iterator[tuple[Any, str]]:
    """Yield the file system of an object and its path there, and turn errors into those for people.

    pyarrow raises OSError with the status of HTTP in its text, and ArrowInvalid, a ValueError.
    """
    bucket, _, key = name.partition("://")[2].partition("/")
    if not bucket or not (key or is_folder):
        raise DataError(f"Expected s3://BUCKET/KEY, but got {name!r}.", "Name the file itself.")
    try:
        filesystem, base = _connect(name.removesuffix(key).rstrip("/"))
        yield filesystem, f"{base}/{key}".rstrip("/")
    except ImportError as error:
        raise DataError(
            f"Expected pyarrow to be installed to reach {name}, but it is not.",
            "pip install 'kidney-tumor-identification[s3]', or use files or an https address.",
        ) from error
    except (FileNotFoundError, ValueError) as error:  # such as a//b, which pyarrow does not read
        raise _refused(name, 404) from error
    except OSError as error:
        if found := re.search(r"HTTP status (\d+)|AWS Error ACCESS_DENIED", str(error)):
            raise _refused(name, int(found[1] or 403)) from error
        raise DataError(
            f"{name} cannot be reached: {error}.",
            "Give an account (AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), a "
            "region (AWS_REGION) and, for another provider, AWS_ENDPOINT_URL.",
        ) from error


@cache  # to connect takes a while; threads may share it
def _connect(bucket: str) -> tuple[Any, str]:
    from pyarrow.fs import FileSystem

    filesystem, base = FileSystem.from_uri(bucket)
    return filesystem, base.rstrip("/")  # that of Azure ends with one


def _refused(name: str, status: int) -> RefusedError:
    return RefusedError(
        f"{name} was refused: HTTP {status}.",
        "See that bucket and key are right, and that the account may read the object.",
        status,
    )
