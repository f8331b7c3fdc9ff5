"""Files that appear whole or not at all, and their fingerprints."""

import glob
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

_STALE_SECONDS = 3600.0  # a process of another machine on the same disk cannot be asked for

_Record = TypeVar("_Record")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes the name `path` only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _remove_stale(path: Path) -> None:
    """Remove what processes that were killed while they wrote `path` have left."""
    for file in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        process = file.name.split(".")[-2]
        try:
            old = time.time() - file.stat().st_mtime > _STALE_SECONDS
            if old and process.isdecimal() and not is_alive(int(process)):
                file.unlink()
        except OSError:  # another writer was faster, or it is of another user
            pass


def is_alive(process: int) -> bool:
    """Tell whether a process of this machine runs; True where that cannot be asked."""
    if os.name != "posix":
        return True  # to ask would mean to end it
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that replaces `path` only if the block succeeds.

    A killed process leaves `.NAME.partial` behind; the next run empties it and starts again. One
    killed between the two renames leaves the old folder as `.NAME.replaced`; the next run puts it
    back first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    replaced = path.with_name(f".{path.name}.replaced")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    _put_back(replaced, path)
    try:
        yield temporary
        shutil.rmtree(replaced, ignore_errors=True)
        if path.exists():
            path.rename(replaced)
        temporary.rename(path)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        _put_back(replaced, path)
        shutil.rmtree(temporary, ignore_errors=True)


def _put_back(replaced: Path, path: Path) -> None:
    if replaced.exists() and not path.exists():
        replaced.rename(path)


@contextmanager
def locked(path: Path, waiting: str) -> Iterator[None]:
    """Hold the lock file `path` while the block runs; other processes on the same disk wait.

    Args:
        path: the lock file; it is made where there is none, and may stay.
        waiting: printed to stderr before waiting for another process.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        print(waiting, file=sys.stderr, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256(path: Path) -> str:
    """Return the SHA-256 of the file's bytes as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(content: Sequence[object]) -> str:
    """Return 10 hexadecimal digits of plain values."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def parse_json(kind: type[_Record], text: str) -> _Record:
    """Read a dataclass or pydantic model from JSON.

    Raises:
        ValueError: the text is no JSON, or a key is missing or holds something else.
    """
    try:
        return TypeAdapter(kind).validate_json(text)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, one['loc'])) or 'text'}: {one['msg']}" for one in error.errors()
        ]
        raise ValueError("; ".join(problems[:3])) from error
