"""Unpacking of archives that come from elsewhere: nothing lands outside, nothing explodes."""

import lzma
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from kidney.errors import DataError

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MAX_BYTES = 64 * 2**30  # the whole Kaggle set is 1.6 GB; KiTS23 is 30 GB
MAX_RATIO = 200  # unpacked to packed; pictures reach about 1, raw volumes about 10
# What the standard library raises on bytes that are no archive, or no longer one. ValueError covers
# names with a zero byte or of no encoding, RuntimeError encryption and unknown compression.
_BROKEN = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError,
    RuntimeError, ValueError,
)  # fmt: skip


def is_archive(path: Path) -> bool:
    """Tell whether the name is that of an archive that `unpack` reads."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


def unpack(archive: Path, folder: Path, max_bytes: int = MAX_BYTES) -> None:
    """Unpack regular files of a zip or tar archive below `folder`.

    Args:
        archive: a .zip, .tar, .tar.gz, .tgz, .tar.bz2 or .tar.xz file.
        folder: where the files go; it exists.
        max_bytes: the most bytes to write in all.

    Raises:
        DataError: a member leads outside `folder` or is a link or device, the archive is broken,
            or it unpacks to more than `max_bytes` or 200 times its own size. Every member's name
            is checked before the first byte is written.
    """
    limit = min(max_bytes, max(archive.stat().st_size, 1) * MAX_RATIO)
    try:
        if archive.name.lower().endswith(".zip"):
            _unpack_zip(archive, folder, limit)
        else:
            _unpack_tar(archive, folder, limit)
    except _BROKEN as error:
        raise DataError(
            f"Expected {archive} to be a readable archive, but: {error}.",
            "Download or copy the archive again, and see that the disk has room.",
        ) from error


def _unpack_zip(archive: Path, folder: Path, limit: int) -> None:
    with zipfile.ZipFile(archive) as packed:
        members = [member for member in packed.infolist() if not member.filename.endswith("/")]
        for member in members:
            _check_name(archive, member.filename)
            if (member.external_attr >> 16) & 0o170000 == 0o120000:
                raise _refused(archive, member.filename, "a link")
        for member in members:
            with packed.open(member) as file:
                limit = _write(archive, file, folder / member.filename, limit)


def _unpack_tar(archive: Path, folder: Path, limit: int) -> None:
    with tarfile.open(archive) as packed:
        members = [member for member in packed.getmembers() if not member.isdir()]
        for member in members:
            _check_name(archive, member.name)
            if not member.isfile():
                raise _refused(archive, member.name, "a link or a device")
        for member in members:
            file = packed.extractfile(member)
            if file is not None:
                limit = _write(archive, file, folder / member.name, limit)
        # The checksum of gzip, bzip2 and xz comes at the very end, behind what a tar reader reads.
        while packed.fileobj and packed.fileobj.read(1 << 20):
            pass


def _check_name(archive: Path, name: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1]):
        raise _refused(archive, name, "a path that leads outside the target folder")
    if "\\" in name or not path.parts:
        raise _refused(archive, name, "no name of a file with / between folders")


def _refused(archive: Path, name: str, what: str) -> DataError:
    return DataError(
        f"Expected only regular files inside {archive.name}, but {name!r} is {what}.",
        "Do not use this archive: nothing of it was unpacked. Get it from a source you trust.",
    )


def _write(archive: Path, file: IO[bytes], path: Path, limit: int) -> int:
    """Copy one member and return how many bytes may still be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as out:
        while block := file.read(1 << 20):
            limit -= len(block)
            if limit < 0:
                raise DataError(
                    f"{archive.name} unpacks to more than {MAX_RATIO} times its size or more than "
                    "the allowed total: it looks like a decompression bomb.",
                    "Use an archive of pictures; unpack a trusted one by hand and give its folder.",
                )
            out.write(block)
    return limit
