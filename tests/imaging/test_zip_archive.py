"""Archives come from strangers: nothing lands outside the target and nothing explodes.

First those that are unpacked as data sets, then those that are uploaded.
"""

import gzip
import io
import random
import shutil
import struct
import tarfile
import tempfile
import tracemalloc
import zipfile
from collections import namedtuple
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kidney.errors import DataError, ImageError, ImageSizeError, ImageTypeError
from kidney.imaging.zip_archive import (
    DATA_LIMITS,
    ArchiveLimits,
    holds_archive,
    is_archive,
    is_zip,
    read_members,
    unpack,
)
from tests.helpers.upload_files import packed

PICTURE = bytes(range(256)) * 8
LEADS_OUTSIDE = ["../evil.jpg", "Cyst/../../evil.jpg", "/evil.jpg", "..\\evil.jpg", "\\evil.jpg",
                 "C:\\evil.jpg", "C:/evil.jpg"]  # fmt: skip
NO_FILE_NAMES = ["Cyst\\Cyst- (1).jpg", ".", ""]
TAR_SUFFIXES = [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"]
NO_REGULAR_FILES = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE,
                    tarfile.FIFOTYPE]  # fmt: skip


def write_zip(path: Path, members: dict[str, bytes], mode: int = 0o100644) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            member = zipfile.ZipInfo()
            member.filename = name  # the constructor would tidy it
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = mode << 16
            archive.writestr(member, data)
    return path


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    mode = {".gz": "w:gz", ".tgz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}.get(path.suffix, "w")
    with tarfile.open(path, mode) as packed:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))
    return path


def add_special_member(path: Path, kind: bytes) -> Path:
    with tarfile.open(path, "a") as packed:
        member = tarfile.TarInfo("Cyst/special.jpg")
        member.type, member.linkname = kind, "../../secret"
        packed.addfile(member)
    return path


def written(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


def refusal(archive: Path, **limits: int) -> str:
    """Unpack, expect a refusal, and see that nothing but the target folder was touched."""
    target = archive.parent / "target"
    target.mkdir()
    before = set(archive.parent.rglob("*"))
    with pytest.raises(DataError) as caught:
        unpack(archive, target, replace(DATA_LIMITS, **limits))
    assert {p for p in archive.parent.rglob("*") if target not in p.parents} == before
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".zip", ".ZIP", *TAR_SUFFIXES])
def test_every_kind_is_unpacked_byte_by_byte(tmp_path: Path, suffix: str) -> None:
    members = {"A/Cyst/Cyst- (1).jpg": PICTURE, "A/Cyst/..odd.jpg": b"", "top.jpg": b"x"}
    write = write_zip if suffix.lower() == ".zip" else write_tar
    archive = write(tmp_path / f"set{suffix}", members)
    target = tmp_path / "target"
    target.mkdir()
    assert is_archive(archive)
    unpack(archive, target)
    assert written(target) == members


@pytest.mark.parametrize("name", ["set.rar", "zip", "set.jpg", "set.zip.part"])
def test_other_files_are_no_archives(name: str) -> None:
    assert not is_archive(Path(name))


@pytest.mark.parametrize("name", [*LEADS_OUTSIDE, *NO_FILE_NAMES])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_name_that_leads_elsewhere_is_refused_before_the_first_byte(
    tmp_path: Path, name: str, kind: str
) -> None:
    write = {"zip": write_zip, "tar": write_tar}[kind]
    message = refusal(write(tmp_path / f"set.{kind}", {"good.jpg": PICTURE, name: PICTURE}))
    assert repr(name) in message
    assert not any((tmp_path / "target").iterdir())


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "set.zip", {"link.jpg": b"../../secret"}, mode=0o120777)
    assert "'link.jpg' is a link" in refusal(archive)
    assert not any((tmp_path / "target").iterdir())


@pytest.mark.parametrize("kind", NO_REGULAR_FILES)
def test_a_link_or_device_in_a_tar_is_refused_before_the_first_byte(
    tmp_path: Path, kind: bytes
) -> None:
    archive = write_tar(tmp_path / "set.tar", {"good.jpg": PICTURE})
    assert "'Cyst/special.jpg' is a link" in refusal(add_special_member(archive, kind))
    assert not any((tmp_path / "target").iterdir())


@pytest.mark.parametrize("name", ["bomb.zip", "bomb.tar.xz"])
def test_a_bomb_is_refused_before_the_first_byte(tmp_path: Path, name: str) -> None:
    write = write_zip if name.endswith(".zip") else write_tar
    archive = write(tmp_path / name, {f"{n}.jpg": bytes(2**21) for n in range(3)})
    assert archive.stat().st_size * 200 < 3 * 2**21
    assert "decompression bomb" in refusal(archive, any_ratio_bytes=2**20)
    assert not any((tmp_path / "target").iterdir())


@pytest.mark.parametrize("name", ["masks.zip", "masks.tar.xz"])
def test_a_few_megabytes_of_zeros_are_no_bomb(tmp_path: Path, name: str) -> None:
    members = {f"{n}.nii": bytes(2**21) for n in range(3)}
    archive = (write_zip if name.endswith(".zip") else write_tar)(tmp_path / name, members)
    (tmp_path / "target").mkdir()
    unpack(archive, tmp_path / "target")
    assert written(tmp_path / "target") == members


def test_a_tar_that_claims_terabytes_is_refused_without_reading_them(tmp_path: Path) -> None:
    member = tarfile.TarInfo("big.jpg")
    member.size = 2**42
    (tmp_path / "set.tar.gz").write_bytes(gzip.compress(member.tobuf() + bytes(2**20)))
    assert "decompression bomb" in refusal(tmp_path / "set.tar.gz")


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_name_of_megabytes_is_not_read_into_memory(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("long")
    member.type, member.size = kind, 2**30
    (tmp_path / "set.tar").write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(2**16))
    assert "claims 1073741824 bytes" in refusal(tmp_path / "set.tar")


@pytest.mark.parametrize("how", ["in the header", "in a pax header"])
def test_a_negative_size_is_refused(tmp_path: Path, how: str) -> None:
    member = tarfile.TarInfo("one.jpg")
    if how == "in the header":
        member.size = -512
        data = member.tobuf(tarfile.GNU_FORMAT)
    else:
        member.pax_headers = {"size": "-1024"}
        data = member.tobuf(tarfile.PAX_FORMAT)
    (tmp_path / "set.tar").write_bytes(data + bytes(2**16))
    refusal(tmp_path / "set.tar")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_the_number_of_files_is_limited(tmp_path: Path, kind: str) -> None:
    write = {"zip": write_zip, "tar": write_tar}[kind]
    archive = write(tmp_path / f"set.{kind}", {f"{n}.jpg": b"" for n in range(4)})
    assert "at most 3 files" in refusal(archive, max_files=3)


def test_a_disk_without_room_is_reported_before_the_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9, 9, len(PICTURE) - 1))
    message = refusal(write_zip(tmp_path / "set.zip", {"one.jpg": PICTURE}))
    assert f"unpacks to {len(PICTURE)} bytes" in message
    assert not any((tmp_path / "target").iterdir())


def test_the_total_of_all_files_is_limited(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "set.zip", {f"{n}.jpg": PICTURE for n in range(4)})
    assert "to become at most 8,191 bytes" in refusal(archive, max_bytes=4 * len(PICTURE) - 1)


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".tar.bz2", ".tar.xz"])
def test_a_truncated_archive_is_refused(tmp_path: Path, suffix: str) -> None:
    write = write_zip if suffix == ".zip" else write_tar
    archive = write(tmp_path / f"set{suffix}", {f"{n}.jpg": PICTURE for n in range(4)})
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    assert "copy the archive again" in refusal(archive)


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".tar.xz"])
def test_an_archive_with_damaged_content_is_refused(tmp_path: Path, suffix: str) -> None:
    write = write_zip if suffix == ".zip" else write_tar
    archive = write(tmp_path / f"set{suffix}", {"Cyst/Cyst- (1).jpg": PICTURE})
    data = bytearray(archive.read_bytes())
    data[80:110] = b"\xff" * 30
    archive.write_bytes(data)
    assert "copy the archive again" in refusal(archive)


def test_the_checksum_at_the_very_end_of_a_tar_gz_is_checked(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "set.tar.gz", {"one.jpg": PICTURE})
    data = bytearray(archive.read_bytes())
    data[-8] ^= 1  # RFC 1952: the last 8 bytes are CRC-32 and length
    archive.write_bytes(data)
    assert "CRC check failed" in refusal(archive)


@pytest.mark.parametrize("name", ["set.zip", "set.tar", "set.tgz"])
@pytest.mark.parametrize("data", [b"", b"no archive at all"])
def test_a_file_that_only_has_the_name_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    assert "copy the archive again" in refusal(tmp_path / name)


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize(
    ("names", "messages"),
    [
        (["one.jpg", "one.jpg"], "there twice"),
        (["A/one.jpg", "a/ONE.JPG"], "there twice"),
        (["a//one.jpg", "a/./one.jpg"], "there twice"),
        (["Z\u00fcste.jpg", "Zu\u0308ste.jpg"], "there twice"),
        (["a/b.jpg", "a"], "also that of a file"),
        (["a", "A/b/c.jpg"], "also that of a file"),
    ],
)
def test_two_members_of_one_name_are_refused_before_the_first_byte(
    tmp_path: Path, kind: str, names: list[str], messages: str
) -> None:
    path = tmp_path / f"set.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as packed, pytest.MonkeyPatch.context() as patch:
            patch.setattr("warnings.warn", lambda *_, **__: None)
            for name in names:
                packed.writestr(name, PICTURE)
    else:
        with tarfile.open(path, "w") as packed:
            for name in names:
                packed.addfile(tarfile.TarInfo(name))
    assert messages in refusal(path)
    assert not any((tmp_path / "target").iterdir())


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_what_file_managers_leave_behind_is_skipped(tmp_path: Path, kind: str) -> None:
    junk = ["__MACOSX/Cyst/._one.jpg", "Cyst/._one.jpg", "Cyst/.DS_Store", "Thumbs.db"]
    members = {"Cyst/one.jpg": PICTURE, "Cyst/..odd.jpg": b"x"}
    write = {"zip": write_zip, "tar": write_tar}[kind]
    (tmp_path / "target").mkdir()
    unpack(write(tmp_path / f"set.{kind}", dict.fromkeys(junk, b"junk") | members),
           tmp_path / "target")  # fmt: skip
    assert written(tmp_path / "target") == members


def cut_tar(tmp_path: Path, at: int) -> Path:
    archive = write_tar(tmp_path / "set.tar", {f"{n}.jpg": PICTURE for n in range(4)})
    archive.write_bytes(archive.read_bytes()[:at])
    return archive


@pytest.mark.parametrize("more", [0, 1, 511, 512, 600])
def test_a_tar_that_is_cut_at_or_in_a_member_is_refused(tmp_path: Path, more: int) -> None:
    refused = refusal(cut_tar(tmp_path, 2 * (512 + len(PICTURE)) + more))
    assert "copy the archive again" in refused


def test_a_tar_with_garbage_for_a_header_is_refused(tmp_path: Path) -> None:
    archive = cut_tar(tmp_path, 2 * (512 + len(PICTURE)))
    archive.write_bytes(archive.read_bytes() + b"\xff" * 2048)
    assert "cut off or damaged" in refusal(archive)


def test_an_encrypted_member_is_refused_as_such(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "set.zip", {"one.jpg": PICTURE})
    data = bytearray(archive.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(data)
    assert "'one.jpg' is encrypted" in refusal(archive)


def test_members_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    """One body, listed twice in the directory at the end of the file."""
    archive = write_zip(tmp_path / "set.zip", {"one.jpg": PICTURE})
    data = archive.read_bytes()
    directory = data[(start := data.rindex(b"PK\x01\x02")) : data.rindex(b"PK\x05\x06")]
    twice = directory + directory.replace(b"one.jpg", b"two.jpg")
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, len(twice), start, 0)
    archive.write_bytes(data[:start] + twice + end)
    assert "'one.jpg' and 'two.jpg' overlap" in refusal(archive)


def test_a_zip64_member_is_unpacked(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "set.zip", "w") as packed,
        packed.open("one.jpg", "w", force_zip64=True) as file,
    ):
        file.write(PICTURE)
    (tmp_path / "target").mkdir()
    unpack(tmp_path / "set.zip", tmp_path / "target")
    assert written(tmp_path / "target") == {"one.jpg": PICTURE}


@pytest.mark.parametrize("suffix", [".zip", *TAR_SUFFIXES])
def test_an_archive_is_known_by_its_bytes_too(tmp_path: Path, suffix: str) -> None:
    write = write_zip if suffix == ".zip" else write_tar
    archive = write(tmp_path / f"set{suffix}", {"one.jpg": PICTURE}).rename(tmp_path / "nameless")
    assert holds_archive(archive)
    (tmp_path / "target").mkdir()
    unpack(archive, tmp_path / "target")
    assert written(tmp_path / "target") == {"one.jpg": PICTURE}
    archive.write_bytes(b"<html>")
    assert not holds_archive(archive)


def test_real_masks_are_unpacked(shared: Path, tmp_path: Path) -> None:
    unpack(shared / "data" / "kits19-shapes.zip", tmp_path)
    assert len(list(tmp_path.rglob("*.nii.gz"))) == 187


LETTERS = "abcäß文 .-()'[]"
NAMES = st.text(LETTERS, min_size=1, max_size=8).filter(lambda name: name.strip(".") == name)
TREES = st.dictionaries(st.lists(NAMES, min_size=1, max_size=3).map("/".join), st.binary(),
                        max_size=8)  # fmt: skip


def is_tree(names: list[str]) -> bool:
    """No name is also that of a folder, and none is junk."""
    return not any(other.startswith(name + "/") for name in names for other in names)


@settings(max_examples=60, deadline=None)
@given(TREES.filter(lambda tree: is_tree(list(tree))), st.sampled_from([".zip", *TAR_SUFFIXES]))
def test_any_tree_comes_back_as_it_was(tree: dict[str, bytes], suffix: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "target")
        folder.mkdir()
        write = write_zip if suffix == ".zip" else write_tar
        unpack(write(Path(name, f"set{suffix}"), tree), folder)
        files = {p.relative_to(folder).as_posix(): p.read_bytes()
                 for p in folder.rglob("*") if p.is_file()}  # fmt: skip
        assert files == tree


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([".zip", ".tar", ".tar.gz", ".tar.xz"]), st.integers(0, 2**32), st.booleans()
)
def test_a_damaged_archive_raises_nothing_else_and_leaves_nothing_outside(
    suffix: str, seed: int, cut: bool
) -> None:
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "target")
        folder.mkdir()
        write = write_zip if suffix == ".zip" else write_tar
        members = {"a/one.jpg": PICTURE, "c" * 120: b"c", chance.choice(LEADS_OUTSIDE): b"b"}
        archive = write(Path(name, f"set{suffix}"), dict(list(members.items())[: 2 + cut]))
        data = bytearray(archive.read_bytes())
        for _ in range(chance.randint(1, 20)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        archive.write_bytes(data[: chance.randrange(len(data))] if cut else data)
        with suppress(DataError):  # some damage does not matter
            unpack(archive, folder, replace(DATA_LIMITS, max_bytes=2**24))
        assert {path.name for path in Path(name).iterdir()} == {"target", archive.name}


UPLOAD = ArchiveLimits(max_files=5, max_ratio=100, max_bytes=4_000_000)


def read(data: bytes, limits: ArchiveLimits = UPLOAD) -> list[tuple[str, int, bytes]]:
    assert is_zip(data[:4])
    return list(read_members(data, "file 1", limits, lambda _: None))


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


def test_folders_and_what_file_managers_leave_in_an_upload_are_passed_over():
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


def test_an_uploaded_bomb_is_refused_by_what_it_claims():
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
    assert read(data, replace(UPLOAD, max_ratio=int(ratio) + 1))
    with pytest.raises(ImageSizeError):
        read(data, replace(UPLOAD, max_ratio=int(ratio) - 1))


def test_all_files_together_are_limited():
    many = [bytes(range(256)) * 4000] * 5
    with pytest.raises(ImageSizeError, match="4,000,000 bytes"):
        read(packed(*many, method=zipfile.ZIP_STORED))


def test_files_are_counted_before_any_is_inflated():
    with pytest.raises(ImageSizeError, match="at most 5 files"):
        read(packed(*[b"x"] * 6))


def test_uploaded_members_that_share_bytes_are_refused():
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


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_can_claim_gigabytes_are_refused(method):
    with pytest.raises(ImageTypeError, match="file 1 is neither stored nor deflated"):
        read(packed(b"slice", method=method))


def test_an_encrypted_file_is_refused():
    data = bytearray(packed(b"slice"))
    data[data.find(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(ImageTypeError, match="file 1 is encrypted"):
        read(bytes(data))


@pytest.mark.parametrize("keep", [4, 20, 60, -1, -30])
def test_a_truncated_upload_is_refused(keep):
    with pytest.raises(ImageError, match="begins like a zip archive"):
        read(packed(b"slice" * 100, b"more")[:keep])


def test_damage_in_an_upload_is_noticed_by_the_checksum():
    data = packed(b"slice" * 10, method=zipfile.ZIP_STORED)
    with pytest.raises(ImageError, match="cannot be read"):
        read(data.replace(b"slicesl", b"slicesL", 1))


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "..\\evil"])
def test_an_uploaded_name_that_leads_outside_is_refused_and_not_quoted(name: str):
    with pytest.raises(ImageTypeError, match="file 2 is a path that leads outside") as caught:
        read(named("Doe/1", name))
    assert "evil" not in str(caught.value)


def test_a_name_that_an_upload_has_twice_is_refused_and_not_quoted():
    with pytest.raises(ImageTypeError, match="file 2 is there twice") as caught:
        read(named("Doe/1", "doe/1"))
    assert "Doe" not in str(caught.value)


def test_a_link_in_an_upload_is_refused():
    with pytest.raises(ImageTypeError, match="file 1 is a link"):
        read(named("1", mode=0o120777))


def test_names_of_windows_and_of_times_are_read():
    assert [member[0] for member in read(named("CT\\1", "12:30/1"))] == [".", "12:30"]


def named(*names: str, mode: int = 0o100644) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            member = zipfile.ZipInfo(name)
            member.external_attr = mode << 16
            archive.writestr(member, b"it")
    return buffer.getvalue()
