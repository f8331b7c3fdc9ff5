"""The series behind "Try a sample" is the one that its command draws."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pydicom

from scripts.sample_series import SAMPLE, write_sample


def series(path: Path) -> list[pydicom.Dataset]:
    with zipfile.ZipFile(path) as archive:
        return [pydicom.dcmread(io.BytesIO(archive.read(name))) for name in archive.namelist()]


def test_the_sample_is_small_and_what_its_command_draws(tmp_path: Path):
    drawn = tmp_path / "sample.zip"
    write_sample(drawn)
    assert SAMPLE.stat().st_size < 1_000_000
    for shipped, again in zip(series(SAMPLE), series(drawn), strict=True):
        assert shipped.PatientName == "Phantom^26"
        # Sums of another processor may round to the next number.
        assert np.abs(shipped.pixel_array.astype(int) - again.pixel_array).max() <= 1
        del shipped.PixelData, again.PixelData
        assert shipped == again
