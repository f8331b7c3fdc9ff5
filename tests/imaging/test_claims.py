"""Files that claim more than any slice has are refused before a decoder sees them."""

import tracemalloc

import numpy as np
import pytest
from pydicom.uid import JPEGBaseline8Bit

from kidney.errors import ImageError
from kidney.imaging.claims import check_claims, check_jpeg_2000, is_plain
from kidney.imaging.dicom import read_dicom
from kidney.imaging.pictures import decode_picture
from tests.helpers import attacks
from tests.helpers.dicom_files import with_codes
from tests.helpers.pictures import encode, gradient
from tests.helpers.upload_files import series


@pytest.mark.parametrize(
    ("data", "claim"),
    [
        (lambda: attacks.segments(3_000), "more segments"),
        (lambda: attacks.scans(101, 64), "more scans"),
        (lambda: attacks.chunks(60_000), "more chunks"),
        (lambda: attacks.tags(600), "more tags"),
    ],
    ids=["segments", "scans", "chunks", "tags"],
)
def test_a_picture_that_claims_too_much_is_not_decoded(data, claim):
    with pytest.raises(ImageError, match=claim):
        decode_picture(data())


def test_a_dicom_file_that_claims_too_much_is_not_decoded():
    with pytest.raises(ImageError, match="more precincts"):
        read_dicom(attacks.precincts(), "it")
    of_segments = with_codes(series()[0], JPEGBaseline8Bit, [attacks.segments(3_000)])
    with pytest.raises(ImageError, match="more segments"):
        read_dicom(of_segments, "it")


def test_restart_markers_cost_no_memory():
    data = attacks.restarts(400_000, 1024)
    tracemalloc.start()
    with pytest.raises(ImageError, match="end early"):
        read_dicom(data, "it")
    assert tracemalloc.get_traced_memory()[1] < 20 * len(data)  # it was 60 times
    tracemalloc.stop()


def test_a_tile_that_claims_more_than_its_picture_is_found():
    code = encode(gradient().astype(np.uint16), "JPEG2000", no_jp2=True)
    style = code.index(b"\xff\x52")
    length = 2 + int.from_bytes(code[style + 2 : style + 4])
    segment = bytearray(code[style : style + length])
    segment[6:8] = b"\xff\xff"  # layers
    tile = code.index(b"\xff\x90")
    found = code[: tile + 12] + bytes(segment) + code[tile + 12 :]
    assert check_jpeg_2000(code) == (48, 64, 1)
    with pytest.raises(ValueError, match="more packets"):
        check_jpeg_2000(found)


@pytest.mark.parametrize("side", [64, 2048])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tile_size": (256, 256)},
        {"codeblock_size": (32, 32), "precinct_size": (128, 128)},
        {"num_resolutions": 6, "quality_layers": [80, 40, 20, 10, 5, 1]},
    ],
)
def test_what_encoders_write_passes(side, options):
    picture = np.arange(side * side).reshape(side, side).astype(np.uint16)
    code = encode(picture, "JPEG2000", no_jp2=True, **options)
    assert check_jpeg_2000(code) == (side, side, 1)


def test_plain_is_what_decodes_in_one_pass():
    plain = [encode(gradient(), "JPEG"), encode(gradient()), encode(gradient() > 99)]
    others = [
        encode(gradient(), "JPEG", progressive=True),
        encode(gradient().astype(np.uint16)),
        encode(gradient(), "TIFF"),
        attacks.segments(3_000),
    ]
    assert [is_plain(data) for data in (*plain, *others)] == [True] * 3 + [False] * 4
    for data in (*plain, *others[:3]):
        check_claims(data)
