"""One guard for archives from elsewhere: uploads to the server, and sources of data sets.

Every header is checked before anything is inflated or written: how many files and bytes, links and
encryption, names that lead outside or come twice, members that share bytes. Tar archives are for
data sets only.
"""

import io
import shutil
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Self

from kidney.errors import DataError, ImageError, ImageSizeError, ImageTypeError, KidneyError

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")  # the second: an empty one
_JUNK = {".DS_Store", "Thumbs.db", "desktop.ini"}  # what file managers leave behind
_HEADER = 30  # bytes before a member's name
_ENTRY = 512  # bytes of the directory for each file; names in exports are long
_END = 66_000  # bytes of the end of an archive, the longest comment included
_MAX_TAR_HEADER = 2**20  # bytes of a long name and the like in a tar; read into memory at once
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others can claim gigabytes to inflate


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may hold.

    Attributes:
        max_files: how many.
        max_bytes: of all files together, inflated.
        max_ratio: of inflated bytes to those of the archive.
        any_ratio_bytes: so many may be inflated from any archive, however small.
    """

    max_files: int
    max_bytes: int
    max_ratio: int
    any_ratio_bytes: int = 0


# The whole Kaggle set is 1.6 GB; KiTS23 is 30 GB. Pictures inflate about 1 time, raw volumes about
# 10 times, and empty masks 1000 times, but not to that many bytes.
DATA_LIMITS = ArchiveLimits(1_000_000, 64 * 2**30, 200, any_ratio_bytes=256 * 2**20)


class Member(NamedTuple):
    """One file of an uploaded archive."""

    folder: str  # inside the archive
    number: int  # among the files of the archive, from 1
    data: bytes


class _Header(NamedTuple):
    """A member that is no folder."""

    name: str
    size: int  # bytes, inflated
    kind: str  # what it is instead of a regular file, or ""
    info: Any  # of zipfile or tarfile


def is_zip(start: bytes) -> bool:
    """Tell by its first four bytes whether a file is a zip archive."""
    return start.startswith(_ZIP_STARTS)


def is_archive(path: Path) -> bool:
    """Tell whether the name is that of an archive that `unpack` reads."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


def holds_archive(path: Path) -> bool:
    """Tell whether the first bytes are those of an archive that `unpack` reads."""
    with path.open("rb") as file:
        return file.read(2) == b"PK" or tarfile.is_tarfile(path)


def read_members(
    data: bytes, name: str, limits: ArchiveLimits, reserve: Callable[[int], None]
) -> Iterator[Member]:
    """Inflate the files of a zip archive one after another, in the order of its directory.

    Args:
        data: the whole archive.
        name: how errors call it; they name its files by number, since names may be of patients.
        limits: what it may hold; folders and what file managers leave behind don't count.
        reserve: called with the bytes of each file before it is inflated, with 0 after the last.

    Raises:
        KidneyError: `reserve` raised it.
        ImageTypeError: a file is encrypted, a link, of an unusual compression or name.
        ImageSizeError: more files or bytes than the limits allow.
        ImageError: it is damaged.
    """
    try:
        bounded = _Bounded(data, _END + limits.max_files * _ENTRY)
        with zipfile.ZipFile(bounded) as packed:
            bounded.most = len(data)
            found = _zip_headers(packed, _METHODS)
            headers = _check(found, name, limits, len(data), to_disk=False)
            for number, header in enumerate(headers, start=1):
                reserve(header.size)
                with packed.open(header.info) as file:
                    # Whatever it holds, no more is inflated than its header claims; more is damage.
                    content = file.read(header.size + 1)
                yield Member(str(PurePosixPath(header.name).parent), number, content)
            reserve(0)
    except KidneyError:
        raise
    except Exception as error:  # BadZipFile, zlib.error, IndexError, struct.error and many others
        raise ImageError(
            f"{name} begins like a zip archive but cannot be read.",
            "Make the archive again; it is truncated or damaged.",
        ) from error


def unpack(archive: Path, folder: Path, limits: ArchiveLimits = DATA_LIMITS) -> None:
    """Unpack regular files of a zip or tar archive below `folder`, without those of file managers.

    Args:
        archive: a .zip, .tar, .tar.gz, .tgz, .tar.bz2 or .tar.xz file.
        folder: where the files go; it exists.
        limits: what it may hold.

    Raises:
        DataError: a member leads outside `folder`, is encrypted, a link or device, or comes twice;
            the archive is broken, or holds more than the limits or the disk allow. All but damage
            inside a member is found before the first byte is written.
    """
    size = archive.stat().st_size
    try:
        with archive.open("rb") as file:
            is_zip_file = file.read(2) == b"PK" or archive.name.lower().endswith(".zip")
        if is_zip_file:
            with zipfile.ZipFile(archive) as packed:
                headers = _check(_zip_headers(packed), archive.name, limits, size, to_disk=True)
                packed.extractall(folder, _fitting(headers, archive, folder))
        else:
            with tarfile.open(archive, tarinfo=_TarHeader) as tar:
                headers = _check(_tar_headers(tar), archive.name, limits, size, to_disk=True)
                tar.extractall(folder, _fitting(headers, archive, folder), filter="data")
                # Checksums of gzip, bzip2 and xz are at the very end, where tarfile does not read.
                while tar.fileobj and tar.fileobj.read(1 << 20):
                    pass
    except DataError:
        raise
    except ImageError as error:
        raise DataError(error.problem, error.remedy) from error
    except Exception as error:  # as above, and tarfile.TarError, lzma.LZMAError, OSError
        raise DataError(
            f"Expected {archive} to be a readable archive, but: {error}.",
            "Download or copy the archive again, and see that the disk has room.",
        ) from error


def _zip_headers(packed: zipfile.ZipFile, methods: Sequence[int] = ()) -> Iterator[_Header]:
    """Yield the members in the order of the directory, once none shares bytes with another."""
    infos = [info for info in packed.infolist() if not info.filename.endswith("/")]
    for info, following in pairwise(sorted(infos, key=lambda info: info.header_offset)):
        # Members that share bytes are how a small zip becomes a big one.
        if info.header_offset + _HEADER + info.compress_size > following.header_offset:
            raise zipfile.BadZipFile(f"{info.filename!r} and {following.filename!r} overlap")
    for info in infos:
        is_link = (info.external_attr >> 16) & 0o170000 == 0o120000
        kind = "a link" if is_link else "encrypted" if info.flag_bits & 1 else ""
        if methods and info.compress_type not in methods:
            kind = kind or "neither stored nor deflated"
        yield _Header(info.filename, info.file_size, kind, info)


def _tar_headers(packed: tarfile.TarFile) -> Iterator[_Header]:
    for info in packed:
        if not info.isdir():
            kind = "" if info.isfile() else "a link or a device"
            yield _Header(info.name, info.size, kind, info)


def _check(
    headers: Iterable[_Header], archive: str, limits: ArchiveLimits, size: int, *, to_disk: bool
) -> list[_Header]:
    """Return what to read; every header is checked before the next one is looked for.

    Args:
        headers: of all members.
        archive: how errors call it.
        limits: what it may hold.
        size: bytes of the archive.
        to_disk: names become paths, and errors quote them; otherwise neither.
    """
    most = min(limits.max_bytes, max(size * limits.max_ratio, limits.any_ratio_bytes))
    kept: dict[tuple[str, ...], _Header] = {}
    total = 0

    def refused(header: _Header, number: int, wrong: str) -> ImageTypeError:
        which = repr(header.name) if to_disk else number
        return ImageTypeError(
            f"Expected only regular files inside {archive}, but file {which} is {wrong}.",
            "Make a plain zip archive without a password, or get it from a source you trust.",
        )

    for count, header in enumerate(headers, start=1):
        total += max(header.size, 0)
        if total > most:
            raise ImageSizeError(
                f"Expected {archive} to become at most {most:,} bytes when it is unpacked, but it "
                "becomes more, as a decompression bomb does.",
                "Use an archive of slices only, or split it.",
            )
        parts = PurePosixPath(header.name).parts
        last = parts[-1] if parts else ""
        is_junk = "__MACOSX" in parts or last in _JUNK or last.startswith("._")
        if (count if to_disk else len(kept) + (not is_junk)) > limits.max_files:
            raise ImageSizeError(
                f"Expected {archive} to hold at most {limits.max_files:,} files, but it has more.",
                "Split it into several archives.",
            )
        if is_junk or not (parts or to_disk):
            continue
        # As Windows and macOS compare names, so that a set is the same on every machine.
        key = tuple(unicodedata.normalize("NFC", part).casefold() for part in parts)
        if wrong := header.kind or _wrong_name(header, to_disk) or ("there twice" * (key in kept)):
            raise refused(header, len(kept) + 1, wrong)
        kept[key] = header
    for number, (key, header) in enumerate(kept.items(), start=1):
        if any(key[:depth] in kept for depth in range(1, len(key))):
            raise refused(header, number, "below a name that is also that of a file")
    return list(kept.values())


def _wrong_name(header: _Header, to_disk: bool) -> str:
    path = PurePosixPath(header.name.replace("\\", "/"))
    has_drive = ":" in "".join(path.parts[:1])
    if path.is_absolute() or ".." in path.parts or (has_drive and to_disk):
        return "a path that leads outside the target folder"
    if to_disk and ("\\" in header.name or not path.parts):
        return "no name of a file with / between folders"
    return "of a negative size" if header.size < 0 else ""


def _fitting(headers: list[_Header], archive: Path, folder: Path) -> list[Any]:
    """Return what zipfile or tarfile extracts, once it fits the disk."""
    total = sum(header.size for header in headers)
    if total > (free := shutil.disk_usage(folder).free):
        raise DataError(
            f"{archive.name} unpacks to {total} bytes, but the disk of {folder} has {free} left.",
            "Make room, or set workspace=FOLDER to a folder on another disk.",
        )
    return [header.info for header in headers]


class _Bounded(io.BytesIO):
    """Bytes of which so many can be read at once and no more.

    zipfile reads the whole directory at once and makes an object for each entry: a directory of
    200 MB would take it minutes and gigabytes.
    """

    def __init__(self, data: bytes, most: int) -> None:
        super().__init__(data)
        self.most = most

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if len(data) > self.most:
            raise ValueError("its directory is longer than that of any series")
        return data


class _TarHeader(tarfile.TarInfo):
    """A header that is broken or missing is an error; to tarfile it is the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the block of zeros at the end
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"it is cut off or damaged ({error})") from error
        if header.size < 0 or (header.type in b"LKxgX" and header.size > _MAX_TAR_HEADER):
            raise tarfile.ReadError(f"a header claims {header.size} bytes")
        return header
