import io
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from kidney.data.phantom.scan import PhantomScan
from kidney.errors import ConfigError, ImageError, ImageTypeError
from kidney.imaging.slices import read_slices
from kidney.imaging.windows import ABDOMEN, WINDOWS, to_grey
from tests.helpers.pictures import encode, gradient

Series = tuple[PhantomScan, list[bytes]]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize("window", [None, ABDOMEN])
def test_a_picture_is_one_slice_whatever_the_window(tmp_path: Path, kind: str, window):
    path = tmp_path / "file.nii"  # the name says another thing than the content
    path.write_bytes(encode(gradient(), kind))
    (slice_,) = read_slices(path, window, "picture")
    assert slice_.dtype == np.uint8
    assert np.abs(slice_.astype(int) - gradient()).max() <= 6


def test_dicom_is_shown_through_the_window(series: Series, tmp_path: Path):
    scan, files = series
    path = tmp_path / "file.jpg"
    path.write_bytes(files[0])
    for window in WINDOWS.values():
        (slice_,) = read_slices(path, window, "slice")
        np.testing.assert_array_equal(slice_, to_grey(scan.hu[0], window))
    path.write_bytes(files[0][132:])
    assert len(read_slices(path, ABDOMEN, "slice")) == 1


def tags(entry: str, pixels_at: int) -> bytes:
    """Pack the entries that a TIFF with the uncompressed pixels of `gradient()` has."""
    height, width = gradient().shape
    # Width, length, bits, compression, photometric, strip offset, rows and bytes of the strip.
    values = {
        256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: pixels_at, 278: height,
        279: height * width,
    }  # fmt: skip
    kind = {"<HHII": 4, "<HHQQ": 16}[entry]
    return b"".join(struct.pack(entry, tag, kind, 1, n) for tag, n in values.items())


def test_a_big_tiff_is_a_picture_too(tmp_path: Path):
    head = b"II" + struct.pack("<HHHQQ", 43, 8, 0, 16, 8)
    path = tmp_path / "file"
    path.write_bytes((head + tags("<HHQQ", 256)).ljust(256, b"\0") + gradient().tobytes())
    (slice_,) = read_slices(path, None, "picture")
    np.testing.assert_array_equal(slice_, gradient())


def test_a_tiff_that_pillow_forgives_is_a_picture_too(tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(b"II\0*" + encode(gradient(), "TIFF")[4:])
    (slice_,) = read_slices(path, None, "picture")
    np.testing.assert_array_equal(slice_, gradient())


def test_a_file_that_is_dicom_and_tiff_is_what_it_was_taken_for(series: Series, tmp_path: Path):
    # DICOM PS3.10, 7.1: the preamble may make the file another format too. The TIFF's directory and
    # pixels lie in an element for padding behind the picture.
    scan, files = series
    dataset = pydicom.dcmread(io.BytesIO(files[0]))
    size = 2 + 8 * 12 + 4
    dataset.add_new(0xFFFCFFFC, "OB", bytes(size) + gradient().tobytes())
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    data = buffer.getvalue()
    at = len(data) - size - gradient().size
    directory = struct.pack("<H", 8) + tags("<HHII", at + size) + bytes(4)
    data = (b"II*\0" + struct.pack("<I", at)).ljust(128, b"\0") + data[128:at] + directory
    path = tmp_path / "file"
    path.write_bytes(data + gradient().tobytes())
    (hounsfield,) = read_slices(path, ABDOMEN, "slice")
    np.testing.assert_array_equal(hounsfield, to_grey(scan.hu[0]))
    (picture,) = read_slices(path, None, "slice")
    np.testing.assert_array_equal(picture, gradient())


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_volume_gives_its_slices_from_the_head_down(series: Series, tmp_path: Path, suffix: str):
    scan, _ = series
    path = tmp_path / f"file{suffix}"
    affine = np.diag([-1.0, -1, -3, 1])
    nib.save(nib.Nifti1Image(scan.hu.transpose(2, 1, 0), affine), path)
    path = path.rename(tmp_path / "file.dcm")
    slices = read_slices(path, ABDOMEN, "scan")
    assert [slice_.dtype for slice_ in slices] == [np.uint8] * 4
    np.testing.assert_array_equal(slices, to_grey(scan.hu))


def test_hounsfield_units_need_a_window(series: Series, tmp_path: Path):
    path = tmp_path / "slice"
    path.write_bytes(series[1][0])
    with pytest.raises(ConfigError, match=r"the slice holds Hounsfield units.*\n.*abdomen"):
        read_slices(path, None, "the slice")


@pytest.mark.parametrize("content", [b"", b"hello, I am a text", b"\x1f\x8b", b"\x1f\x8bhello"])
@pytest.mark.parametrize("window", [None, ABDOMEN])
def test_anything_else_is_refused(tmp_path: Path, content: bytes, window):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ImageError, match="the file"):
        read_slices(path, window, "the file")


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(ImageError, match="cannot be read"):
        read_slices(tmp_path / "missing", ABDOMEN, "the file")
    with pytest.raises(ImageError, match="cannot be read"):
        read_slices(tmp_path, ABDOMEN, "the file")


def test_a_text_is_called_unknown_and_not_broken(tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(b"hello, I am a text")
    with pytest.raises(ImageTypeError, match="JPEG, PNG, TIFF, DICOM or NIfTI"):
        read_slices(path, ABDOMEN, "the file")
