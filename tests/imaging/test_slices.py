from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from kidney.data.phantom.scan import PhantomScan
from kidney.errors import ConfigError, ImageError, ImageTypeError
from kidney.imaging.slices import read_slices
from kidney.imaging.windows import ABDOMEN, WINDOWS, to_grey
from tests.pictures import encode, gradient

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
