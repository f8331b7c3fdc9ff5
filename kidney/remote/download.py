"""Files from the web: whole, checked, and resumed where a run before this one was cut off.

Beside `PATH` lie `.NAME.download`, the bytes so far, and `.NAME.download.json`, which says whose
bytes they are. Every process that downloads to `PATH` holds a lock on the first.
"""

import errno
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256 as _sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from kidney.errors import DataError
from kidney.files import locked, write_text
from kidney.files import sha256 as sha256_of
from kidney.remote.http import (
    BY_HAND,
    PassingError,
    UnreachableError,
    blocks,
    check_url,
    open_url,
    without_secrets,
    without_user,
)
from kidney.remote.http import validator as validator_of

MAX_BYTES = 64 * 2**30
Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all where the server says

NO_HEADERS: Mapping[str, str] = MappingProxyType({})

_SECONDS = 30.0  # without a byte
_WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds before each further try


@dataclass(frozen=True)
class _Wanted:
    """What was asked for."""

    url: str
    path: Path
    sha256: str | None
    size: int | None  # bytes
    max_bytes: int
    headers: Mapping[str, str]
    name: str  # of the file, wherever the address of today leads

    @property
    def partial(self) -> Path:
        return self.path.with_name(f".{self.path.name}.download")

    @property
    def source(self) -> str:
        """A fingerprint of the name, whose query may hold a secret."""
        return _sha256(self.name.encode("utf-8", "backslashreplace")).hexdigest()


@dataclass(frozen=True)
class _Record:
    """Whose bytes lie in the partial file, or under the path itself once `sha256` is known."""

    source: str = ""
    validator: str = ""  # ETag or Last-Modified: other bytes have another one
    total: int | None = None  # bytes
    sha256: str = ""

    @classmethod
    def read(cls, wanted: _Wanted) -> "_Record":
        try:
            return cls(**json.loads(_record_path(wanted).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return cls()

    def write(self, wanted: _Wanted) -> None:
        write_text(_record_path(wanted), json.dumps(asdict(self)) + "\n")


def silent(done: int, total: int | None) -> None:
    """Say nothing."""


def download(
    url: str,
    path: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    max_bytes: int = MAX_BYTES,
    headers: Mapping[str, str] = NO_HEADERS,
    name: str | None = None,
    progress: Progress = silent,
) -> Path:
    """Download `url` to `path`, which appears only once it is whole.

    A file that an earlier call finished is returned without asking the server: with `sha256`, one
    of that hash; otherwise one that came from the same address and has not been touched since.

    Args:
        url: an http or https address; `USER:PASSWORD@` is sent to that host only.
        path: where the file goes; the folders above it are made.
        sha256: its SHA-256, 64 hexadecimal digits.
        size: its bytes.
        max_bytes: the most bytes to accept.
        headers: what to send along; `Authorization` goes to that host only.
        name: what tells this file from others where its address is another one at each call, as
            a presigned one is; None: the address.
        progress: called with the bytes so far and the bytes in all.

    Returns:
        `path`.

    Raises:
        DataError: the file cannot be had, is another one than expected, or does not fit the disk.
            What came so far is kept for the next call, except where its hash is wrong.
    """
    check_url(url)
    digits = sha256.strip().lower() if sha256 else None
    name = name or without_user(url)
    wanted = _Wanted(url, path, digits, size, max_bytes, headers, name)
    if wanted.sha256 and not re.fullmatch(r"[0-9a-f]{64}", wanted.sha256):
        raise DataError(
            f"Expected a SHA-256 of 64 hexadecimal digits, but got {sha256!r}.",
            "Copy it as `sha256sum FILE` prints it, or leave it out.",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = wanted.partial.with_name(f"{wanted.partial.name}.lock")
        with locked(lock, f"Another process downloads {path}: waiting for it"):
            if not _is_finished(wanted):
                with wanted.partial.open("ab", buffering=0) as file:
                    _complete(wanted, file, progress)
    except OSError as error:
        raise _no_file(wanted, error) from error
    return path


def forget(path: Path) -> None:
    """Remove the file of a download, and what is known of it."""
    path.unlink(missing_ok=True)
    path.with_name(f".{path.name}.download.json").unlink(missing_ok=True)


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _is_finished(wanted: _Wanted) -> bool:
    if not wanted.path.is_file() or wanted.size not in (None, wanted.path.stat().st_size):
        return False
    found = sha256_of(wanted.path)
    if wanted.sha256:
        return found == wanted.sha256
    record = _Record.read(wanted)
    return (record.source, record.sha256) == (wanted.source, found)


def _complete(wanted: _Wanted, file: BinaryIO, progress: Progress) -> None:
    tries, most = 0, _size(file)
    while (problem := _try(wanted, file, progress)) is not None:
        if _size(file) >= most + 2**20:  # it gets on, and a server that begins anew does not
            tries, most = 0, _size(file)
        if tries == len(_WAITS):
            raise DataError(
                f"{without_secrets(wanted.url)} failed {tries + 1} times in a row: {problem}. "
                f"{_size(file)} bytes are here.",
                "Run the same command again later: it goes on where this one stopped.",
            )
        time.sleep(_WAITS[tries])
        tries += 1
    os.fsync(file.fileno())
    found = sha256_of(wanted.partial)
    if wanted.sha256 not in (None, found):
        file.truncate(0)
        _record_path(wanted).unlink(missing_ok=True)
        raise DataError(
            f"Expected {without_secrets(wanted.url)} to have the SHA-256 {wanted.sha256}, but it "
            f"has {found}; it was removed.",
            "Run again in case it was damaged on its way. If it is the same again, the file or the "
            "hash has changed: ask its publisher before you trust it.",
        )
    record = _Record.read(wanted)
    _Record(wanted.source, record.validator, _size(file), found).write(wanted)
    wanted.partial.replace(wanted.path)
    folder = os.open(wanted.path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # of the name
    finally:
        os.close(folder)


def _try(wanted: _Wanted, file: BinaryIO, progress: Progress) -> str | None:
    """Get what is missing; return None where the file is whole, else what went wrong."""
    record, have = _Record.read(wanted), _size(file)
    # Bytes that no validator and no hash vouches for may be of an older file: not gone on with.
    if record.source != wanted.source or not (record.validator or wanted.sha256):
        file.truncate(0)
        record, have = _Record(wanted.source), 0
    if have and have == record.total:
        return None
    asked = {"Range": f"bytes={have}-", "If-Range": record.validator} if have else {}
    headers = {name: text for name, text in asked.items() if text} | dict(wanted.headers)
    try:
        with open_url(wanted.url, headers, _SECONDS) as response:
            return _receive(wanted, file, response, record, progress)
    except UnreachableError as error:
        if not have:
            raise
        return error.problem  # reached before, out of reach now
    except PassingError as error:
        if error.status == 416:  # the server's file has become shorter than what is here
            file.truncate(0)
        return str(error)


def _receive(
    wanted: _Wanted, file: BinaryIO, response: Any, record: _Record, progress: Progress
) -> str | None:
    """Append what the server sends; return None where the file is whole, else what went wrong."""
    have, validator = _size(file), validator_of(response)
    if response.status == 206:
        span = re.match(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        begin, total = (int(span[1]), int(span[2])) if span else (-1, None)
        if (begin, validator) != (have, record.validator) or record.total not in (None, total):
            file.truncate(0)
            return "the server's file has changed"
    elif response.status == 200:
        file.truncate(0)
        have, total = 0, response.length
        _Record(wanted.source, validator, total).write(wanted)
        if total is None and not response.chunked and not (wanted.sha256 or wanted.size):
            raise DataError(
                f"{without_secrets(wanted.url)} does not say how long it is: whether it came "
                "whole could not be told.",
                f"Give its SHA-256, {BY_HAND}",
            )
    else:
        return f"HTTP {response.status} without the file"
    _check_total(wanted, total, have)
    progress(have, total)
    for block in blocks(response):
        have += len(block)
        while block:  # a disk that is nearly full takes a part
            block = block[file.write(block) :]
        if have > wanted.max_bytes:
            break
        progress(have, total)
    if total is None and not response.chunked:
        total = wanted.size
    if total is not None and have < total:
        raise PassingError(f"the connection was cut: {have} of {total} bytes came")
    if have > wanted.max_bytes or wanted.size not in (None, have):
        file.truncate(0)
    _check_total(wanted, have, have)
    return None


def _check_total(wanted: _Wanted, total: int | None, have: int) -> None:
    if total is None:
        return
    if wanted.size not in (None, total):
        raise DataError(
            f"Expected {without_secrets(wanted.url)} to have {wanted.size} bytes, but it has "
            f"{total}.",
            "The file at this address is another one, or the number is wrong.",
        )
    if total > wanted.max_bytes:
        raise DataError(
            f"{without_secrets(wanted.url)} has {total} bytes, more than the {wanted.max_bytes} "
            "that are allowed.",
            "See that the address is that of the right file.",
        )
    if total - have > (free := shutil.disk_usage(wanted.path.parent).free):
        raise _no_file(wanted, OSError(errno.ENOSPC, f"{total - have} bytes to come, {free} free"))


def _record_path(wanted: _Wanted) -> Path:
    return wanted.partial.with_name(f"{wanted.partial.name}.json")


def _no_file(wanted: _Wanted, error: OSError) -> DataError:
    return DataError(
        f"{without_secrets(wanted.url)} cannot be written to {wanted.path}: "
        f"{error.strerror or error}.",
        "See that the disk has room and the folder can be written to, then run the same command "
        "again: it goes on where this one stopped.",
    )
