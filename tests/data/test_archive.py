"""Archives come from strangers: nothing lands outside the target and nothing explodes."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from kidney.data.archive import is_archive, unpack
from kidney.errors import DataError

PICTURE = bytes(range(256)) * 8
LEADS_OUTSIDE = ["../evil.jpg", "Cyst/../../evil.jpg", "/evil.jpg", "..\\evil.jpg", "\\evil.jpg",
                 "C:\\evil.jpg", "C:/evil.jpg"]  # fmt: skip
NO_FILE_NAMES = ["Cyst\\Cyst- (1).jpg", ".", ""]
TAR_SUFFIXES = [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"]
NO_REGULAR_FILES = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE,
                    tarfile.FIFOTYPE]  # fmt: skip


def write_zip(path: Path, members: dict[str, bytes], mode: int = 0o100644) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members.items():
            member = zipfile.ZipInfo()
            member.filename = name  # the constructor would tidy it
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = mode << 16
            packed.writestr(member, data)
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
        unpack(archive, target, **limits)
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
def test_a_bomb_is_defused_at_200_times_the_size_of_the_archive(tmp_path: Path, name: str) -> None:
    write = write_zip if name.endswith(".zip") else write_tar
    archive = write(tmp_path / name, {f"{n}.jpg": bytes(2**21) for n in range(3)})
    assert archive.stat().st_size * 200 < 3 * 2**21
    assert "decompression bomb" in refusal(archive)
    unpacked = sum(len(data) for data in written(tmp_path / "target").values())
    assert unpacked <= archive.stat().st_size * 200


def test_the_total_of_all_files_is_limited(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "set.zip", {f"{n}.jpg": PICTURE for n in range(4)})
    assert "allowed total" in refusal(archive, max_bytes=4 * len(PICTURE) - 1)


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


@pytest.mark.parametrize("name", ["set.zip", "set.tar", "set.tgz"])
@pytest.mark.parametrize("data", [b"", b"no archive at all"])
def test_a_file_that_only_has_the_name_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    assert "copy the archive again" in refusal(tmp_path / name)


def test_a_name_twice_in_one_archive_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "set.tar", "w") as packed:
        for data in (b"first", b"second"):
            member = tarfile.TarInfo("one.jpg")
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))
    refusal(tmp_path / "set.tar")
    assert written(tmp_path / "target") == {"one.jpg": b"first"}
