"""Zip archives that were uploaded: inflated in memory, one member at a time, within limits."""

import io
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import PurePosixPath
from typing import NamedTuple

from kidney.errors import ImageError, ImageSizeError, ImageTypeError
from kidney.serving.settings import Settings

_START = (b"PK\x03\x04", b"PK\x05\x06")  # the second: an empty one
_JUNK = {".DS_Store", "Thumbs.db", "desktop.ini"}  # what file managers leave behind
_ENTRY = 512  # bytes of the directory for each file; names in exports are long
_END = 66_000  # bytes of the end of an archive, the longest comment included
_BYTES_A_PIXEL = 4  # of a file; a CT has 2, a picture in colour 3
_HEADER = 30  # bytes before a member's name
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others can claim gigabytes to inflate


class Member(NamedTuple):
    """One file of an archive."""

    folder: str  # inside the archive
    number: int  # among the files of the archive, from 1
    data: bytes


def is_zip(start: bytes) -> bool:
    """Tell by its first four bytes whether a file is a zip archive."""
    return start.startswith(_START)


def members(data: bytes, name: str, settings: Settings) -> Iterator[Member]:
    """Inflate the files of a zip archive one after another, in the order of its directory.

    Sizes and counts are checked as the headers claim them before anything is inflated, and never
    more than that is inflated. Folders and what file managers leave behind are passed over.

    Args:
        data: the whole archive.
        name: how errors call it.
        settings: max_files, max_zip_ratio and max_request_pixels are used.

    Raises:
        ImageTypeError: an archive inside of it, an encrypted file or an unusual compression.
        ImageSizeError: more files or bytes than the limits allow.
        ImageError: it is damaged.
    """
    most = min(len(data) * settings.max_zip_ratio, settings.max_request_pixels * _BYTES_A_PIXEL)
    try:
        bounded = _Bounded(data, _END + settings.max_files * _ENTRY)
        with zipfile.ZipFile(bounded) as packed:
            bounded.most = len(data)
            infos = [info for info in packed.infolist() if _wanted(info)]
            _check(infos, name, settings.max_files, most)
            for number, info in enumerate(infos, start=1):
                with packed.open(info) as file:
                    # Whatever it holds, no more is inflated than its header claims; more is damage.
                    content = file.read(info.file_size + 1)
                if is_zip(content):
                    raise ImageTypeError(
                        f"Expected {name} to hold slices, but its file {number} is an archive too.",
                        "Unpack it and send its files in one archive.",
                    )
                yield Member(str(PurePosixPath(info.filename).parent), number, content)
    except ImageError:
        raise
    except Exception as error:
        # Damage surfaces as BadZipFile, zlib.error, EOFError, ValueError, IndexError, struct.error,
        # RuntimeError, NotImplementedError and others besides.
        raise ImageError(
            f"{name} begins like a zip archive but cannot be read.",
            "Make the archive again; it is truncated or damaged.",
        ) from error


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


def _wanted(info: zipfile.ZipInfo) -> bool:
    parts = PurePosixPath(info.filename).parts
    if not parts or info.is_dir() or "__MACOSX" in parts:
        return False
    return parts[-1] not in _JUNK and not parts[-1].startswith("._")


def _check(infos: list[zipfile.ZipInfo], name: str, max_files: int, most: int) -> None:
    if len(infos) > max_files:
        raise ImageSizeError(
            f"Expected {name} to hold at most {max_files:,} files, but it holds more.",
            "Send the series in several requests.",
        )
    if sum(info.file_size for info in infos) > most:
        raise _too_large(name, most)
    for number, info in enumerate(infos, start=1):
        if info.flag_bits & 1 or info.compress_type not in _METHODS:
            raise ImageTypeError(
                f"Expected the files of {name} to be stored or deflated and not encrypted, but "
                f"file {number} is not.",
                "Make a plain zip archive without a password.",
            )
    for info, following in pairwise(sorted(infos, key=lambda info: info.header_offset)):
        # Members that share bytes are how a small zip becomes a big one.
        if info.header_offset + _HEADER + info.compress_size > following.header_offset:
            raise zipfile.BadZipFile("members overlap")


def _too_large(name: str, most: int) -> ImageSizeError:
    return ImageSizeError(
        f"Expected {name} to become at most {most:,} bytes when it is unpacked, but it becomes "
        "more.",
        "Send an archive of slices only, or fewer of them.",
    )
