"""Inputs out of public bug reports: read right, skipped, doubted or refused by name."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from kidney.errors import ImageError
from kidney.imaging.pictures import decode_picture
from kidney.imaging.windows import ABDOMEN
from kidney.serving.inference.decode import Series, decode
from kidney.serving.settings import Settings


class Stack(NamedTuple):
    slices: int
    plane: str = "axial"
    skipped: str = ""
    doubts: str = ""


SOME = Stack(5)
READ: dict[str, list[Stack]] = {
    "00-baseline.zip": [SOME],
    "01a-dose-page-own-series.zip": [Stack(5, skipped="Secondary Capture")],
    "01b-dose-page-same-series.zip": [Stack(5, skipped="Secondary Capture")],
    "02-scout-in-series.zip": [Stack(5, skipped="a scout")],
    "05a-spacing-comma.zip": [SOME],
    "05b-thickness-text.zip": [SOME],
    "05c-instance-fraction.zip": [SOME],
    "05d-window-text.zip": [SOME],
    "10a-two-acquisitions.zip": [SOME, SOME],
    "10c-one-slice-five-times.zip": [Stack(5, skipped="the same object again")],
    "11b-backslashes-dicom.zip": [Stack(5, skipped="neither a picture")],
    "12a-disc-with-jar.zip": [Stack(5, skipped="an archive or document")],
    "12b-report-docx.zip": [Stack(5, skipped="an archive or document")],
    "12d-disc-with-logo.zip": [Stack(5, skipped="a picture beside DICOM")],
    "12f-report-pdf.zip": [Stack(5, skipped="neither a picture")],
    "13a-signed-called-unsigned.zip": [Stack(5, doubts="a sign was lost")],
    "13b-bits-stored-too-few.zip": [Stack(5, doubts="more bits")],
    "14b-8bit-windowed-slope1.zip": [Stack(5, doubts="nothing in the slice is air")],
    "15a-coronal-and-axial-one-series.zip": [Stack(5), Stack(4, "coronal")],
    "17a-padding-value-0-is-water.zip": [Stack(5, doubts="padding")],
    "17b-padding-range-limit-0.zip": [Stack(5, doubts="padding")],
    "19c-implicit-called-explicit.dcm": [Stack(1)],
    "19d-trailing-bytes.dcm": [Stack(1)],
    "20-non-square-pixels.zip": [SOME],
    "24b-frames-empty.zip": [SOME],
    "24c-position-text.zip": [SOME],
    "24e-center-two-values-text.zip": [SOME],
}
REFUSED = {
    "01c-dose-page-alone.dcm": "Secondary Capture",
    "03a-iodine-map.zip": "the unit MGML",
    "03c-rescaletype-us.zip": "the unit US",
    "04a-no-rescale.zip": "RescaleSlope",
    "04b-no-intercept.zip": "RescaleIntercept",
    "08a-hu-plus-32768.png": "16 bits",
    "08b-12bit-in-16.png": "16 bits",
    "14a-8bit-windowed-no-rescale.zip": "RescaleSlope",
    "16m-12bit.jpg": "JPEG with 12",
    "19a-encapsulated-called-native.dcm": "are compressed, but its transfer syntax",
    "19b-native-called-rle.dcm": "are not compressed, but its transfer syntax",
    "23-modality-lut-od.zip": "the unit OD",
    "24a-slope-comma.zip": "RescaleSlope of number 1 in file 1 to be a number",
}


def read(path: Path) -> list[Series]:
    return decode([path.read_bytes()], Settings(), ABDOMEN, with_hu=True)


@pytest.mark.parametrize("name", READ)
def test_a_case_is_read_right(shared: Path, name: str):
    found = read(shared / "cases" / name)
    assert len(found) == len(READ[name])
    for series, expected in zip(found, READ[name], strict=True):
        assert (series.kind, len(series.slices)) == ("dicom", expected.slices)
        assert series.plane == expected.plane
        assert expected.skipped in " ".join(one.reason for one in series.skipped)
        assert bool(series.skipped) == bool(expected.skipped)
        assert expected.doubts in " ".join(series.doubts)
        assert bool(series.doubts) == bool(expected.doubts)


@pytest.mark.parametrize(
    "name", [name for name, stacks in READ.items() if name[:2] in ("05", "24")]
)
def test_what_is_not_needed_changes_no_number(shared: Path, name: str):
    (series,), (baseline,) = read(shared / "cases" / name), read(shared / "cases/00-baseline.zip")
    for one, other in zip(series.slices, baseline.slices, strict=True):
        np.testing.assert_array_equal(one.hu, other.hu)


@pytest.mark.parametrize("name", REFUSED)
def test_a_case_is_refused_by_name(shared: Path, name: str):
    with pytest.raises(ImageError) as caught:
        read(shared / "cases" / name)
    assert REFUSED[name] in caught.value.problem


def test_pixels_become_square(shared: Path):
    (series,) = read(shared / "cases/20-non-square-pixels.zip")
    (baseline,) = read(shared / "cases/00-baseline.zip")
    assert series.pixel_mm == pytest.approx(baseline.pixel_mm)
    for one, other in zip(series.slices, baseline.slices, strict=True):
        assert one.grey.shape == other.grey.shape
        assert np.corrcoef(one.grey.ravel(), other.grey.ravel())[0, 1] > 0.9


def test_greys_of_16_bits_are_not_turned_round(shared: Path):
    cases = shared / "cases"
    white, black = (
        decode_picture((cases / name).read_bytes())
        for name in ("06a-16bit-miniswhite.tif", "06b-16bit-minisblack.tif")
    )
    np.testing.assert_array_equal(white, black)
    assert decode_picture((cases / "16f-transparent-background.png").read_bytes())[0, 0] == 0
