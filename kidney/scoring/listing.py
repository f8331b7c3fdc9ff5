"""What an archive holds, in chunks: the same archive always gives the same ones."""

import csv
import hashlib
import os
from collections.abc import Iterable, Iterator
from itertools import starmap
from pathlib import Path
from typing import NamedTuple

from kidney.errors import DataError
from kidney.remote.object_store import is_object, list_objects

MAX_FILES = 128  # of a chunk
_ENDS = 64  # one file in so many ends its chunk


class File(NamedTuple):
    """A file as it is listed; nothing of it was read."""

    path: str  # absolute, or s3://BUCKET/KEY
    # size and time, which change with its content; "" where the file cannot be looked at: reading
    # it will fail and report why
    version: str


class Chunk(NamedTuple):
    """The files that are scored together and end in one part of the result."""

    id: str  # 16 hexadecimal digits, the same for the same files, versions and recipe
    paths: tuple[str, ...]


def list_archive(archive: str) -> Iterator[File]:
    """Yield the files of an archive, in an order that does not change from run to run.

    Args:
        archive: a folder, of any depth, or s3://BUCKET/FOLDER; or a list: a text file with a path a
            line, or a CSV file with a column `path`. A path of a list is that of a file, a folder
            of files (a study), an object, or a folder of objects that ends with a slash; relative
            ones begin where the list lies.

    Raises:
        DataError: there is no such archive, or a list that is none.
    """
    if is_object(archive):
        yield from starmap(File, list_objects(archive))
        return
    path = Path(os.path.abspath(archive))  # noqa: PTH100  resolve() would follow links
    if path.is_dir():
        yield from _folder(path)
    elif path.is_file():
        yield from _list(path)
    else:
        raise DataError(
            f"Expected a folder or a list at {archive}, but there is none.",
            "Give a folder, a text or CSV file that lists files, or s3://BUCKET/FOLDER.",
        )


def chunks(files: Iterable[File], recipe: str) -> Iterator[Chunk]:
    """Divide files into chunks in their order.

    Where a chunk ends depends on the names of its files alone (content-defined chunking,
    Muthitacharoen et al. 2001), so a file that comes or goes changes the chunk that it belongs to
    and seldom the next ones, whose results stay.

    Args:
        recipe: what else decides the result; part of the ids.
    """
    chunk: list[File] = []
    for file in files:
        chunk.append(file)
        ends = hashlib.sha256(_bytes(file.path)).digest()[0] % _ENDS == 0
        if ends or len(chunk) == MAX_FILES:
            yield _chunk(chunk, recipe)
            chunk = []
    if chunk:
        yield _chunk(chunk, recipe)


def _chunk(files: list[File], recipe: str) -> Chunk:
    parts = [recipe.encode(), *(_bytes(text) for file in files for text in file)]
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()
    return Chunk(digest[:16], tuple(file.path for file in files))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")  # names of files need not be text


def _folder(folder: Path) -> Iterator[File]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        yield File(str(folder), "")
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _folder(Path(entry.path))
        else:
            yield _file(entry.path)


def _file(path: str) -> File:
    try:
        state = os.stat(path)  # noqa: PTH116  of a million files
    except OSError:
        return File(path, "")
    return File(path, f"{state.st_size} {state.st_mtime_ns}")


def _list(path: Path) -> Iterator[File]:
    for name in _names(path):
        if is_object(name):
            yield from (
                starmap(File, list_objects(name)) if name.endswith("/") else [File(name, "listed")]
            )
            continue
        absolute = Path(os.path.abspath(path.parent / name))  # noqa: PTH100
        yield from _folder(absolute) if absolute.is_dir() else [_file(str(absolute))]


def _names(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig", errors="strict", newline="") as file:
            if path.suffix.lower() != ".csv":
                yield from (line.strip() for line in file if line.strip())
                return
            rows = csv.DictReader(file)
            if "path" not in (rows.fieldnames or ()):
                raise DataError(
                    f"Expected {path} to have a column path, got {rows.fieldnames}.",
                    "Name the column of the files path, in the first line.",
                )
            yield from (name for row in rows if (name := (row["path"] or "").strip()))
    except UnicodeDecodeError as error:
        raise DataError(
            f"Expected {path} to be a list of files in UTF-8, but it is no text.",
            "Give a text file with a path a line, a CSV file with a column path, or the folder.",
        ) from error
