"""Unpacking of archives that come from elsewhere: nothing lands outside, nothing explodes."""

import lzma
import shutil
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, Self

from kidney.errors import DataError

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MAX_BYTES = 64 * 2**30  # the whole Kaggle set is 1.6 GB; KiTS23 is 30 GB
MAX_RATIO = 200  # unpacked to packed; pictures reach about 1, raw volumes about 10, ...
ANY_RATIO_BYTES = 256 * 2**20  # ... and empty masks 1000, but not that many bytes of them
MAX_MEMBERS = 1_000_000
_MAX_HEADER = 2**20  # bytes of a long name and the like in a tar; read into memory at once
_JUNK = {".DS_Store", "Thumbs.db", "desktop.ini"}  # what file managers leave behind
# What the standard library raises on bytes that are no archive, or no longer one. ValueError covers
# names with a zero byte or of no encoding, RuntimeError unknown compression.
_BROKEN = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError,
    RuntimeError, ValueError,
)  # fmt: skip


class _Member(NamedTuple):
    """One member that is no folder, as its header says."""

    name: str
    size: int  # bytes, unpacked
    wrong: str  # what it is instead of a regular file, or ""
    key: Any  # what opens it


def is_archive(path: Path) -> bool:
    """Tell whether the name is that of an archive that `unpack` reads."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


def holds_archive(path: Path) -> bool:
    """Tell whether the first bytes are those of an archive that `unpack` reads."""
    with path.open("rb") as file:
        return file.read(2) == b"PK" or tarfile.is_tarfile(path)


def unpack(archive: Path, folder: Path, max_bytes: int = MAX_BYTES) -> None:
    """Unpack regular files of a zip or tar archive below `folder`, without those of file managers.

    Args:
        archive: a .zip, .tar, .tar.gz, .tgz, .tar.bz2 or .tar.xz file.
        folder: where the files go; it exists.
        max_bytes: the most bytes to write in all.

    Raises:
        DataError: a member leads outside `folder`, is encrypted, a link or device, or comes twice;
            the archive is broken; it unpacks to more than `max_bytes`, than the disk has room for,
            or than both 256 MB and 200 times its own size. All but damage inside a member is found
            before the first byte is written.
    """
    limit = min(max_bytes, max(archive.stat().st_size * MAX_RATIO, ANY_RATIO_BYTES))
    try:
        with archive.open("rb") as file:
            is_zip = file.read(2) == b"PK" or archive.name.lower().endswith(".zip")
        (_unpack_zip if is_zip else _unpack_tar)(archive, folder, limit)
    except _BROKEN as error:
        raise DataError(
            f"Expected {archive} to be a readable archive, but: {error}.",
            "Download or copy the archive again, and see that the disk has room.",
        ) from error


def _unpack_zip(archive: Path, folder: Path, limit: int) -> None:
    with zipfile.ZipFile(archive) as packed:
        infos = [info for info in packed.infolist() if not info.filename.endswith("/")]
        infos.sort(key=lambda info: info.header_offset)  # as they lie on the disk
        for info, following in pairwise(infos):
            # A header has 30 bytes. Members that share bytes are how a small zip becomes a big one.
            if info.header_offset + 30 + info.compress_size > following.header_offset:
                raise zipfile.BadZipFile(f"{info.filename!r} and {following.filename!r} overlap")
        members = (_Member(i.filename, i.file_size, _wrong_in_zip(i), i) for i in infos)
        _write(_checked(archive, members, folder, limit), packed.open, folder)


def _wrong_in_zip(info: zipfile.ZipInfo) -> str:
    if (info.external_attr >> 16) & 0o170000 == 0o120000:
        return "a link"
    return "encrypted" if info.flag_bits & 1 else ""


def _unpack_tar(archive: Path, folder: Path, limit: int) -> None:
    with tarfile.open(archive, tarinfo=_Header) as packed:
        members = (
            _Member(info.name, info.size, "" if info.isfile() else "a link or a device", info)
            for info in packed
            if not info.isdir()
        )
        # mypy: what is opened is a regular file, for which this is never None.
        _write(_checked(archive, members, folder, limit), packed.extractfile, folder)  # type: ignore[arg-type]
        # The checksum of gzip, bzip2 and xz comes at the very end, behind what a tar reader reads.
        while packed.fileobj and packed.fileobj.read(1 << 20):
            pass


class _Header(tarfile.TarInfo):
    """A header that is broken or missing is an error; to tarfile it is the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the block of zeros at the end
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"it is cut off or damaged ({error})") from error
        if header.size < 0 or (header.type in b"LKxgX" and header.size > _MAX_HEADER):
            raise tarfile.ReadError(f"a header claims {header.size} bytes")
        return header


def _checked(archive: Path, members: Iterable[_Member], folder: Path, limit: int) -> list[_Member]:
    """Return what to unpack; every header is judged before the next one is looked for."""
    kept: dict[tuple[str, ...], _Member] = {}
    total = 0
    for count, member in enumerate(members, 1):
        total += max(member.size, 0)
        if total > limit or count > MAX_MEMBERS:
            raise DataError(
                f"{archive.name} unpacks to more than {limit} bytes, which is {MAX_RATIO} times "
                f"its size or the allowed total, or to more than {MAX_MEMBERS} files: it looks "
                "like a decompression bomb.",
                "Use an archive of pictures; unpack a trusted one by hand and give its folder.",
            )
        parts = PurePosixPath(member.name).parts
        if "__MACOSX" in parts or (parts and (parts[-1] in _JUNK or parts[-1][:2] == "._")):
            continue
        _check_name(archive, member.name)
        if member.wrong or member.size < 0:
            raise _refused(archive, member.name, member.wrong or "of a negative size")
        # As Windows and macOS compare names, so that a set is the same on every machine.
        key = tuple(unicodedata.normalize("NFC", part).casefold() for part in parts)
        if key in kept:
            raise _refused(archive, member.name, f"there twice, also as {kept[key].name!r}")
        kept[key] = member
    for key, member in kept.items():
        if any(key[:depth] in kept for depth in range(1, len(key))):
            raise _refused(archive, member.name, "below a name that is also that of a file")
    if total > (free := shutil.disk_usage(folder).free):
        raise DataError(
            f"{archive.name} unpacks to {total} bytes, but the disk of {folder} has {free} left.",
            "Make room, or set workspace=FOLDER to a folder on another disk.",
        )
    return list(kept.values())


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


def _write(members: list[_Member], opened: Callable[[Any], IO[bytes]], folder: Path) -> None:
    made = set()
    for member in members:
        path = folder / member.name
        if path.parent not in made:  # asking the disk for each of 12,000 files takes a while
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        with opened(member.key) as file, path.open("xb") as out:
            shutil.copyfileobj(file, out, 1 << 20)
