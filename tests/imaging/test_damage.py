"""Whatever the bytes are, nothing but an ImageError comes out of the readers."""

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from kidney.data.phantom.scan import PhantomScan
from kidney.errors import ImageError
from kidney.imaging.dicom import read_dicom, read_header
from kidney.imaging.nifti import read_volume
from kidney.imaging.slices import read_slices
from kidney.imaging.windows import ABDOMEN
from tests.helpers.dicom_files import changed, compressed, with_codes
from tests.helpers.pictures import encode, gradient

# pydicom, Pillow and numpy warn of the damage; outside of tests pydicom is told not to.
pytestmark = pytest.mark.filterwarnings("ignore")

Series = tuple[PhantomScan, list[bytes]]
STARTS = [b"", b"\0" * 128 + b"DICM", b"\x02\0\0\0UL\x04\0", b"\x08\0\x05\0", b"II*\0", b"MM\0*",
          b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"\x1f\x8b\x08\0"]  # fmt: skip


def damaged(whole: bytes, generator: np.random.Generator) -> bytes:
    """Return the bytes with a few flipped, copied elsewhere or cut off; headers suffer most."""
    data = bytearray(whole)
    kind = generator.random()
    if kind < 0.2:
        return bytes(data[: generator.integers(1, len(data))])
    reach = len(data) if kind < 0.5 else min(len(data), 1500)
    for _ in range(generator.choice([1, 2, 4, 16])):
        data[generator.integers(reach)] = generator.choice([0, 1, 127, 128, 255, *range(256)])
    if kind > 0.9:
        start, place = generator.integers(reach, size=2)
        data[place : place + 40] = data[start : start + 40]
    return bytes(data)


def refusals(whole: list[bytes], read: Callable[[bytes], object], trials: int) -> int:
    generator = np.random.default_rng(0)
    refused: list[ImageError] = []
    for trial in range(trials):
        try:
            read(damaged(whole[trial % len(whole)], generator))
        except ImageError as error:
            refused.append(error)
    assert all(error.problem and error.remedy for error in refused)
    return len(refused)


def test_damaged_dicom_raises_nothing_else(series: Series):
    plain = series[1][0]
    eight = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    whole = [
        plain,
        plain[132:],
        *(
            compressed(plain, syntax)
            for syntax in (ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless,
                           JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless)
        ),
        with_codes(plain, JPEGBaseline8Bit, [encode(gradient(96, 96), "JPEG")], **eight),
        changed(plain, PixelPaddingValue=3, NumberOfFrames=1, ContrastBolusAgent="x"),
    ]  # fmt: skip
    assert refusals(whole, lambda data: read_dicom(data, "it", max_pixels=1 << 20), 700) > 200
    assert refusals(whole, lambda data: read_header(data, "it"), 300) > 30


def test_damaged_real_slices_raise_nothing_else(real_files: dict[str, bytes]):
    whole = list(real_files.values())[:2]
    assert refusals(whole, lambda data: read_dicom(data, "it", max_pixels=1 << 20), 40) > 5


@pytest.mark.parametrize("packed", [False, True])
def test_damaged_nifti_raises_nothing_else(tmp_path: Path, packed: bool):
    path = tmp_path / "a.nii"
    voxels = np.random.default_rng(0).integers(-1000, 1000, (8, 9, 7)).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1, 3, 1])), path)
    whole = path.read_bytes()

    def read(data: bytes) -> object:
        path.write_bytes(data)
        return read_volume(path, "it", max_voxels=1 << 20)

    assert refusals([gzip.compress(whole) if packed else whole], read, 300) > 60


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(STARTS), st.binary(max_size=400))
def test_any_bytes_raise_nothing_else(tmp_path: Path, start: bytes, rest: bytes):
    path = tmp_path / "file"
    path.write_bytes(start + rest)
    with pytest.raises(ImageError):
        read_slices(path, ABDOMEN, "it")
