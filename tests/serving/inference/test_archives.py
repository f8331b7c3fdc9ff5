import io
import struct
import tracemalloc
import zipfile

import pytest

from kidney.errors import ImageError, ImageSizeError, ImageTypeError
from kidney.serving.inference.archives import is_zip, members
from kidney.serving.settings import Settings
from tests.helpers.upload_files import packed

SETTINGS = Settings(max_files=5, max_zip_ratio=100, max_request_pixels=1_000_000)


def read(data: bytes, settings: Settings = SETTINGS) -> list[tuple[str, int, bytes]]:
    assert is_zip(data[:4])
    return list(members(data, "file 1", settings))


def with_sizes(data: bytes, size: int) -> bytes:
    """Return the archive whose headers say that every file inflates to so many bytes."""
    changed = bytearray(data)
    for mark, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = changed.find(mark)
        while start >= 0:
            changed[start + at : start + at + 4] = struct.pack("<I", size)
            start = changed.find(mark, start + 4)
    return bytes(changed)


def test_files_come_in_order_with_their_folders():
    assert read(packed(b"one", b"two", folder="a/b/")) == [("a/b", 1, b"one"), ("a/b", 2, b"two")]


def test_folders_and_what_file_managers_leave_are_passed_over():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.mkdir("series")
        for name in ("series/.DS_Store", "__MACOSX/._1", "series/1", "series/._1", "Thumbs.db"):
            archive.writestr(name, b"it")
    assert read(buffer.getvalue()) == [("series", 1, b"it")]


def test_a_file_without_a_name_is_passed_over():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("1", b"it")
        archive.infolist()[0].filename = ""
    assert read(buffer.getvalue()) == []


def test_a_bomb_is_refused_by_what_it_claims():
    bomb = packed(bytes(3_000_000))
    assert len(bomb) < 30_000
    with pytest.raises(ImageSizeError, match=r"at most .* bytes when it is unpacked"):
        read(bomb)


def test_no_more_is_inflated_than_a_header_claims():
    lie = with_sizes(packed(bytes(30_000_000)), 100)
    tracemalloc.start()
    with pytest.raises(ImageError, match="cannot be read"):
        read(lie)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_an_archive_of_honest_pictures_may_grow_up_to_the_ratio():
    data = packed(bytes(100_000))
    ratio = 100_000 / len(data)
    assert read(data, Settings(max_zip_ratio=int(ratio) + 1))
    with pytest.raises(ImageSizeError):
        read(data, Settings(max_zip_ratio=int(ratio) - 1))


def test_all_files_together_are_limited():
    many = [bytes(range(256)) * 4000] * 5
    with pytest.raises(ImageSizeError, match="4,000,000 bytes"):
        read(packed(*many, method=zipfile.ZIP_STORED))


def test_files_are_counted_before_any_is_inflated():
    with pytest.raises(ImageSizeError, match="at most 5 files"):
        read(packed(*[b"x"] * 6))


def test_members_that_share_bytes_are_refused():
    data = packed(b"x" * 50, method=zipfile.ZIP_STORED)
    start, end = data.find(b"PK\x01\x02"), data.find(b"PK\x05\x06")
    entry = data[start:end]
    counts = struct.pack("<4H2L", 0, 0, 2, 2, 2 * len(entry), start)
    twice = data[:end] + entry + data[end : end + 4] + counts + data[end + 20 :]
    assert len(zipfile.ZipFile(io.BytesIO(twice)).infolist()) == 2
    with pytest.raises(ImageError, match="cannot be read"):
        read(twice)


def test_a_directory_without_end_is_not_parsed(monkeypatch):
    class ParsedError(BaseException):
        pass

    def parse(*_: object) -> None:
        raise ParsedError

    monkeypatch.setattr(zipfile, "ZipInfo", parse)
    # zipfile would take half a minute and a gigabyte for two million entries.
    directory = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", *[0] * 18) * 2_000_000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(directory), 0, 0)
    with pytest.raises(ImageError, match="cannot be read"):
        read(b"PK\x03\x04" + directory + end)


def test_an_archive_in_an_archive_is_refused():
    with pytest.raises(ImageTypeError, match="its file 2 is an archive too"):
        read(packed(b"slice", packed(b"slice")))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_can_claim_gigabytes_are_refused(method):
    with pytest.raises(ImageTypeError, match="stored or deflated"):
        read(packed(b"slice", method=method))


def test_an_encrypted_file_is_refused():
    data = bytearray(packed(b"slice"))
    data[data.find(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(ImageTypeError, match="not encrypted, but file 1"):
        read(bytes(data))


@pytest.mark.parametrize("keep", [4, 20, 60, -1, -30])
def test_a_truncated_archive_is_refused(keep):
    with pytest.raises(ImageError, match="begins like a zip archive"):
        read(packed(b"slice" * 100, b"more")[:keep])


def test_damage_inside_is_noticed_by_the_checksum():
    data = packed(b"slice" * 10, method=zipfile.ZIP_STORED)
    with pytest.raises(ImageError, match="cannot be read"):
        read(data.replace(b"slicesl", b"slicesL", 1))
