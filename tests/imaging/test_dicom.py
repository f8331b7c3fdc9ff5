import io
import re
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import (
    HTJ2K,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from kidney.data.phantom.scan import PhantomScan
from kidney.errors import ImageError, ImageSizeError, ImageTypeError, NoSliceError
from kidney.imaging.dicom import read_dicom, read_header
from kidney.imaging.windows import Window
from tests.helpers.dicom_files import as_bytes, changed, compressed, lossless_jpeg, with_codes
from tests.helpers.pictures import encode, gradient

# pydicom warns of odd values; pytest hears it even where kidney.imaging silences it.
pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning:pydicom")

Series = tuple[PhantomScan, list[bytes]]
SYNTAXES = [
    ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless, JPEGLossless, JPEGLosslessSV1,
    JPEG2000Lossless, JPEGLSLossless,
]  # fmt: skip


def hu_of(data: bytes) -> np.ndarray:
    return read_dicom(data, "the slice").hu


def test_a_slice_reads_back_as_it_was_written(series: Series):
    scan, files = series
    for expected, data in zip(scan.hu, files, strict=True):
        image = read_dicom(data, "slice")
        assert image.hu.dtype == np.int16
        np.testing.assert_array_equal(image.hu, expected[None])


def test_the_header_says_what_was_written(series: Series, tmp_path: Path):
    scan, files = series
    header = read_header(files[1], "slice")
    path = tmp_path / "without-extension"
    path.write_bytes(files[1])
    assert read_header(path, "slice") == header == read_dicom(path, "slice").header
    assert (header.modality, header.image_type) == ("CT", ("DERIVED", "PRIMARY", "AXIAL"))
    assert header.patient_id == f"PHANTOM-{scan.seed}"
    assert header.series_uid
    assert header.study_uid
    assert header.sop_uid
    assert (header.instance, header.rows, header.columns, header.frames) == (2, 96, 96, 1)
    assert header.plane == "axial"
    assert (header.slice_mm, header.pixel_mm) == pytest.approx(scan.spacing[:2], abs=1e-3)
    above = read_header(files[0], "slice").position
    assert above is not None
    assert header.position == pytest.approx(above - scan.spacing[0], abs=1e-3)
    assert header.window == Window(center=40, width=400)


def test_what_a_file_does_not_say_stays_unknown(series: Series):
    bare = changed(
        series[1][0], ImageOrientationPatient=None, PixelSpacing=None, SpacingBetweenSlices=None,
        SliceThickness=None, InstanceNumber=None, WindowWidth=None, PatientID=None,
    )  # fmt: skip
    header = read_header(bare, "slice")
    assert (header.plane, header.position, header.instance, header.window) == ("", None, None, None)
    assert np.isnan([header.pixel_mm, header.slice_mm]).all()
    assert header.patient_id == ""
    assert hu_of(bare).shape == (1, 96, 96)


def test_the_thickness_is_second_best(series: Series):
    thick = changed(series[1][0], SpacingBetweenSlices=None, SliceThickness=1.25)
    assert read_header(thick, "slice").slice_mm == 1.25
    assert read_header(changed(thick, SpacingBetweenSlices=5), "slice").slice_mm == 5


@pytest.mark.parametrize(
    ("agent", "contrast"), [("Omnipaque 350", "enhanced"), ("", ""), ("NONE", ""), (None, "")]
)
def test_a_named_agent_means_enhanced(series: Series, agent: str | None, contrast: str):
    data = changed(changed(series[1][0], ContrastBolusAgent="x"), ContrastBolusAgent=agent)
    assert read_header(data, "slice").contrast == contrast


@pytest.mark.parametrize(
    ("center", "width", "window"),
    [([40, 300], [300, 1500], Window(40, 300)), (40, 1, None), (40, 0, None), ("", "", None)],
)
def test_the_first_sensible_window_counts(series: Series, center, width, window):
    data = changed(series[1][0], WindowCenter=center, WindowWidth=width)
    assert read_header(data, "slice").window == window


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_every_transfer_syntax_reads_back_to_the_same_hu(series: Series, syntax):
    scan, files = series
    data = compressed(files[0], syntax)
    assert pydicom.dcmread(io.BytesIO(data)).file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(hu_of(data)[0], scan.hu[0])


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLossless], ids=["raw", "RLE", "JPEG"])
def test_signed_values_keep_their_sign(series: Series, syntax):
    scan, files = series
    signed = changed(files[0], PixelRepresentation=1, RescaleIntercept=0)
    signed = changed(signed, PixelData=scan.hu[0].astype("<i2").tobytes())
    data = compressed(signed, syntax) if syntax else signed
    np.testing.assert_array_equal(hu_of(data)[0], scan.hu[0])


def test_bits_above_those_stored_do_not_count(series: Series):
    scan, files = series
    stored = (scan.hu[0].astype(int) & 0x0FFF).astype(np.uint16)
    hu = np.where(stored < 0x800, stored, stored.astype(int) - 0x1000)
    twelve = changed(
        files[0], BitsStored=12, HighBit=11, PixelRepresentation=1, RescaleIntercept=0,
        PixelData=stored.astype("<u2").tobytes(),
    )  # fmt: skip
    expected = np.clip(hu, -1024, 3071)
    np.testing.assert_array_equal(hu_of(twelve)[0], expected)
    code = with_codes(twelve, JPEGLossless, [lossless_jpeg(stored)])
    np.testing.assert_array_equal(hu_of(code)[0], expected)


def test_8_bit_jpeg_is_read(series: Series):
    grey = gradient(96, 96)
    code = encode(grey, "JPEG", quality=95)
    data = with_codes(
        series[1][0], JPEGBaseline8Bit, [code], BitsAllocated=8, BitsStored=8, HighBit=7,
        RescaleSlope=2, RescaleIntercept=-100,
    )  # fmt: skip
    assert np.abs(hu_of(data)[0] - (grey.astype(int) * 2 - 100)).max() <= 6


def test_hu_end_at_their_limits_without_a_wrap(series: Series):
    stored = np.zeros((96, 96), dtype="<u2")
    stored[0, :3] = 65535, 40000, 1000
    wide = changed(series[1][0], PixelData=stored.tobytes(), RescaleSlope=4)
    assert hu_of(wide)[0, 0, :4].tolist() == [3071, 3071, 2976, -1024]
    half = changed(series[1][0], PixelData=stored.tobytes(), RescaleSlope=0.5)
    assert hu_of(half)[0, 0, :4].tolist() == [3071, 3071, -524, -1024]


def test_a_look_up_table_goes_before_slope_and_intercept(series: Series):
    table = pydicom.Dataset()
    table.LUTDescriptor = [3, 10, 16]
    table.ModalityLUTType = "HU"
    table.LUTData = [100, 200, 300]
    stored = np.full((96, 96), 9, dtype="<u2")
    stored[0, :4] = 10, 11, 12, 4000
    data = changed(series[1][0], PixelData=stored.tobytes())
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.ModalityLUTSequence = [table]
    dataset["ModalityLUTSequence"].value[0]["LUTData"].VR = "US"
    assert hu_of(as_bytes(dataset))[0, 0, :5].tolist() == [100, 200, 300, 300, 100]


def test_padding_becomes_air(series: Series):
    scan, files = series
    stored = scan.hu[0].astype(int) + 1024
    stored[:5] = 3000
    stored[5:9] = 2990
    data = changed(files[0], PixelData=stored.astype("<u2").tobytes(), PixelPaddingValue=3000)
    assert (hu_of(data)[0, :5] == -1024).all()
    assert (hu_of(data)[0, 5:9] == 1966).all()
    both = hu_of(changed(data, PixelPaddingRangeLimit=2990))[0]
    assert (both[:9] == -1024).all()
    np.testing.assert_array_equal(both[9:], scan.hu[0, 9:])


def test_signed_padding_written_without_its_sign_becomes_air(series: Series):
    scan, files = series
    hu = scan.hu[0].copy()
    hu[:5] = -2000
    data = changed(
        files[0], PixelRepresentation=1, RescaleIntercept=1500, PixelPaddingValue=65536 - 2000,
        PixelData=hu.astype("<i2").tobytes(),
    )  # fmt: skip
    assert (hu_of(data)[0, :5] == -1024).all()
    assert (hu_of(data)[0, 5:] > -1024).any()


def test_the_sense_of_display_leaves_hu_alone(series: Series):
    scan, files = series
    inverted = changed(files[0], PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(hu_of(inverted)[0], scan.hu[0])


@pytest.mark.parametrize(
    ("orientation", "store"),
    [
        ([1, 0, 0, 0, 1, 0], lambda hu: hu),
        ([-1, 0, 0, 0, -1, 0], lambda hu: hu[::-1, ::-1]),
        ([-1, 0, 0, 0, 1, 0], lambda hu: hu[:, ::-1]),
        ([0, 1, 0, 1, 0, 0], lambda hu: hu.T),
        ([0, -1, 0, 1, 0, 0], lambda hu: np.rot90(hu, k=-1)),
        ([0.99, 0.14, 0, -0.14, 0.99, 0], lambda hu: hu),
    ],
)
def test_axial_slices_show_the_right_on_the_left_and_the_front_on_top(
    series: Series, orientation, store
):
    scan, files = series
    stored = np.ascontiguousarray(store(scan.hu[0].astype(int) + 1024)).astype("<u2")
    if orientation == [0, -1, 0, 1, 0, 0]:
        # Rows run to the front, columns to the left: stored[i, j] lies at x = i, y = -j.
        stored = np.ascontiguousarray((scan.hu[0].astype(int) + 1024).T[:, ::-1]).astype("<u2")
    data = changed(files[0], ImageOrientationPatient=orientation, PixelData=stored.tobytes())
    image = read_dicom(data, "slice")
    assert image.header.plane == "axial"
    np.testing.assert_array_equal(image.hu[0], scan.hu[0])


@pytest.mark.parametrize(
    ("orientation", "plane", "store"),
    [
        ([1, 0, 0, 0, 0, -1], "coronal", lambda hu: hu),
        ([1, 0, 0, 0, 0, 1], "coronal", lambda hu: hu[::-1]),
        ([0, 1, 0, 0, 0, -1], "sagittal", lambda hu: hu),
        ([0, -1, 0, 0, 0, -1], "sagittal", lambda hu: hu[:, ::-1]),
        ([1, 0, 0, 0, 0.707, -0.707], "oblique", lambda hu: hu),
    ],
)
def test_other_planes_show_the_head_on_top(series: Series, orientation, plane, store):
    scan, files = series
    stored = np.ascontiguousarray(store(scan.hu[0].astype(int) + 1024)).astype("<u2")
    image = read_dicom(
        changed(files[0], ImageOrientationPatient=orientation, PixelData=stored.tobytes()), "slice"
    )
    assert image.header.plane == plane
    np.testing.assert_array_equal(image.hu[0], scan.hu[0])


def multi_frame(series: Series, order: list[int]) -> bytes:
    """Return the scan as one Enhanced CT whose frames are stored in another order."""
    scan, files = series
    dataset = pydicom.dcmread(io.BytesIO(files[0]))
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
                    "SpacingBetweenSlices", "SliceThickness", "RescaleSlope", "WindowCenter",
                    "RescaleIntercept", "WindowWidth", "Modality"):  # fmt: skip
        delattr(dataset, keyword)
    dataset.SOPClassUID = pydicom.uid.EnhancedCTImageStorage

    def group(macro: str, **values: object) -> pydicom.Dataset:
        item, holder = pydicom.Dataset(), pydicom.Dataset()
        for keyword, value in values.items():
            setattr(item, keyword, value)
        setattr(holder, macro, [item])
        return holder

    shared = group("PlaneOrientationSequence", ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    shared.update(group("PixelMeasuresSequence", PixelSpacing=[0.8, 0.8], SliceThickness=2.5))
    shared.update(group("FrameVOILUTSequence", WindowCenter=40, WindowWidth=350))
    dataset.SharedFunctionalGroupsSequence = [shared]
    frames, pixels = [], []
    for place, index in enumerate(order):
        frame = group("PlanePositionSequence", ImagePositionPatient=[0, 0, -2.5 * index])
        intercept = -1024 - 100 * place
        frame.update(
            group("PixelValueTransformationSequence", RescaleSlope=1, RescaleIntercept=intercept)
        )
        frames.append(frame)
        pixels.append((scan.hu[index].astype(int) - intercept).astype("<u2").tobytes())
    dataset.PerFrameFunctionalGroupsSequence = frames
    dataset.NumberOfFrames = len(order)
    dataset.PixelData = b"".join(pixels)
    return as_bytes(dataset)


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLosslessSV1, JPEG2000Lossless])
def test_frames_of_enhanced_ct_run_from_head_to_feet_each_with_its_own_scale(
    series: Series, syntax
):
    data = multi_frame(series, [2, 0, 3, 1])
    image = read_dicom(compressed(data, syntax) if syntax else data, "scan")
    np.testing.assert_array_equal(image.hu, series[0].hu)
    assert (image.header.modality, image.header.frames, image.header.plane) == ("CT", 4, "axial")
    assert (image.header.pixel_mm, image.header.slice_mm) == (0.8, 2.5)
    assert image.header.window == Window(center=40, width=350)


def test_frames_of_several_orientations_or_one_place_are_doubted(series: Series):
    dataset = pydicom.dcmread(io.BytesIO(multi_frame(series, [0, 1, 1, 3])))
    assert read_dicom(as_bytes(dataset), "scan").header.doubts == (
        "some frames lie where another one lies",
    )
    coronal = pydicom.Dataset()
    coronal.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    dataset.PerFrameFunctionalGroupsSequence[2].PlaneOrientationSequence = [coronal]
    (doubt,) = read_dicom(as_bytes(dataset), "scan").header.doubts
    assert "several orientations" in doubt


def test_frames_that_are_missing_are_noticed(series: Series):
    data = compressed(multi_frame(series, [0, 1, 2, 3]), JPEG2000Lossless)
    for frames in (3, 5):
        with pytest.raises(ImageError, match=f"{frames} compressed frames"):
            hu_of(changed(data, NumberOfFrames=frames))
    with pytest.raises(ImageError, match="cannot be read"):
        hu_of(changed(series[1][0], NumberOfFrames=2))


def test_files_without_preamble_are_read_where_they_are_plausible(series: Series):
    scan, files = series
    for syntax in (None, ImplicitVRLittleEndian, ExplicitVRBigEndian):
        data = compressed(files[0], syntax) if syntax else files[0]
        np.testing.assert_array_equal(hu_of(data[132:])[0], scan.hu[0])
        length = int.from_bytes(data[140:144], "little")
        without_meta = data[144 + length :]
        np.testing.assert_array_equal(hu_of(without_meta)[0], scan.hu[0])


@pytest.mark.parametrize(
    "content", [b"hello, I am a text", b"\x08\x00\x05\x00 and no more of it" * 9, b"\x02\x00",
                b"\0" * 200, b"\0" * 128 + b"DICM"],
)  # fmt: skip
def test_other_content_is_refused(content: bytes):
    for read in (read_header, read_dicom):
        with pytest.raises(ImageError, match=r"scan\.dcm"):
            read(content, "scan.dcm")
    with pytest.raises(ImageTypeError):
        read_dicom(content, "scan.dcm")


def test_an_empty_or_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(ImageError, match="empty"):
        read_header(b"", "it")
    with pytest.raises(ImageError, match="it"):
        read_header(tmp_path / "missing", "it")


def test_limits_hold_before_pixels_are_decoded(series: Series):
    data = multi_frame(series, [0, 1, 2, 3])
    assert read_dicom(data, "scan", max_pixels=4 * 96 * 96, max_frames=4).hu.shape[0] == 4
    with pytest.raises(ImageSizeError, match="got 4 x 96 x 96"):
        read_dicom(data, "scan", max_pixels=4 * 96 * 96 - 1)
    with pytest.raises(ImageSizeError, match="at most 3 frames"):
        read_dicom(data, "scan", max_frames=3)
    with pytest.raises(ImageSizeError):
        hu_of(changed(series[1][0], Rows=60_000, Columns=60_000))
    with pytest.raises(ImageSizeError, match="at least 32"):
        hu_of(changed(series[1][0], Rows=31))


def test_a_codestream_larger_than_its_header_is_refused(series: Series):
    big = np.zeros((500, 500), dtype=np.uint16)
    codes = {
        JPEG2000Lossless: encode(big, "JPEG2000", no_jp2=True),
        JPEGBaseline8Bit: encode(big.astype(np.uint8), "JPEG"),
        JPEGLosslessSV1: lossless_jpeg(big),
        JPEGLSLossless: imagecodecs.jpegls_encode(big),
    }
    for syntax, code in codes.items():
        with pytest.raises(ImageError, match="got 500 x 500"):
            hu_of(with_codes(series[1][0], syntax, [code]))


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless])
def test_a_truncated_codestream_is_refused(series: Series, syntax):
    data = compressed(series[1][0], syntax)
    code = next(pydicom.encaps.generate_frames(
        pydicom.dcmread(io.BytesIO(data)).PixelData, number_of_frames=1
    ))  # fmt: skip
    for length in (len(code) // 2, len(code) - 40):
        with pytest.raises(ImageError):
            hu_of(with_codes(series[1][0], syntax, [code[:length]]))


def test_pictures_without_hounsfield_units_are_refused(series: Series):
    for reason, values in {
        "got modality MR": {"Modality": "MR"},
        "got another modality": {"Modality": "DOE JOHN"},
        "got colours: a": {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"},
        "to be grey": {"PhotometricInterpretation": "PALETTE COLOR"},
        "8 or 16 bits": {"BitsAllocated": 32},
        "without a picture": {"PixelData": None},
    }.items():
        with pytest.raises(ImageTypeError, match=reason):
            hu_of(changed(series[1][0], **values))
    with pytest.raises(ImageError, match="slope"):
        hu_of(changed(series[1][0], RescaleSlope=0))


@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2K])
def test_a_syntax_without_decoder_is_named_with_a_way_out(series: Series, syntax):
    with pytest.raises(
        ImageTypeError, match=f"{re.escape(syntax.name)}.*{syntax}.*\n.*install"
    ) as caught:
        hu_of(with_codes(series[1][0], syntax, [b"\xff\xd8\xff\xd9"]))
    assert "gdcmconv" in caught.value.remedy


def test_12_bit_lossy_jpeg_is_named_with_a_way_out(series: Series):
    code = b"\xff\xd8\xff\xc1\x00\x0b\x0c\x00\x60\x00\x60\x01\x01\x11\x00\xff\xd9"
    with pytest.raises(ImageTypeError, match="Extended with 12 bits"):
        hu_of(with_codes(series[1][0], JPEGExtended12Bit, [code]))


def test_the_deflated_syntax_is_refused_before_it_inflates():
    path = get_testdata_file("image_dfl.dcm", download=False)
    for read in (read_header, read_dicom):
        with pytest.raises(ImageTypeError, match="deflated"):
            read(Path(path), "bomb")


def test_a_sequence_of_nothing_but_empty_elements_is_refused(series: Series):
    element = b"\x09\x00\x01\x00CS\0\0" * 600_000
    item = b"\xfe\xff\x00\xe0" + len(element).to_bytes(4, "little") + element
    groups = b"\x00\x52\x29\x92SQ\0\0" + len(item).to_bytes(4, "little") + item
    start = series[1][0].index(b"\xe0\x7f\x10\x00OW")
    with pytest.raises(ImageError, match="at most 4,000,000 bytes, got 4,8"):
        read_header(series[1][0][:start] + groups, "bomb")


@pytest.mark.parametrize("nested", [False, True])
def test_a_file_of_nothing_but_empty_elements_is_refused(series: Series, nested: bool):
    element = b"\x09\x00\x01\x00CS\0\0" * 500_000
    if nested:
        element = (
            b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" + element
        )
    start = series[1][0].index(b"\x08\x00\x08\x00CS")
    with pytest.raises(ImageError, match="more elements than any CT"):
        read_header(series[1][0][:start] + element, "bomb")


@pytest.mark.parametrize("name", ["693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm", "CT_small.dcm"])
def test_odd_files_of_real_scanners_are_read(name: str):
    hu = read_dicom(Path(get_testdata_file(name, download=False)), name).hu
    assert hu.min() < -800
    assert 500 < hu.max() < 3071


def test_real_slices_are_read(real_files: dict[str, bytes]):
    for name, data in list(real_files.items())[:3]:
        image = read_dicom(data, name)
        assert image.hu.shape == (1, 512, 512)
        assert image.hu.min() == -1024
        assert -50 < np.median(image.hu[0, 200:300, 200:300]) < 150  # soft tissue
        assert image.header.window == Window(center=40, width=300)  # the first of two
        assert (image.header.plane, image.header.contrast) == ("axial", "enhanced")
        assert (image.header.slice_mm, image.header.pixel_mm) == (3, 0.9765625)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "Secondary Capture Image Storage"),
        ({"RescaleType": "MGML"}, "the unit MGML"),
        ({"RescaleType": "DOE^JANE"}, "another unit"),
        ({"ImageType": ["DERIVED", "SECONDARY", "LOCALIZER"]}, "a localizer"),
    ],
)
def test_what_has_no_hounsfield_units_is_no_slice(series: Series, values, reason: str):
    data = changed(series[1][0], **values)
    assert read_header(data, "it").unfit.startswith(reason)
    with pytest.raises(NoSliceError, match=reason):
        read_dicom(data, "it")


def test_numbers_without_slope_or_intercept_are_not_guessed(series: Series):
    scan, files = series
    with pytest.raises(ImageError, match="RescaleIntercept"):
        read_dicom(changed(files[0], RescaleIntercept=None), "it")
    unsigned = changed(files[0], RescaleIntercept=None, RescaleSlope=None)
    with pytest.raises(ImageError, match="RescaleSlope"):
        read_dicom(unsigned, "it")
    signed = changed(unsigned, PixelRepresentation=1, PixelData=scan.hu[0].astype("<i2").tobytes())
    np.testing.assert_array_equal(hu_of(signed)[0], scan.hu[0])


def test_numbers_that_may_be_no_hounsfield_units_are_doubted(series: Series):
    scan, files = series
    assert read_dicom(files[0], "it").header.doubts == ()
    body = np.clip(scan.hu[0], 0, 255) + 1024
    data = changed(files[0], PixelData=body.astype("<u2").tobytes())
    assert "nothing in the slice is air" in read_dicom(data, "it").header.doubts[0]


def test_pixels_that_are_not_square_are_resampled(series: Series):
    scan, files = series
    every = np.ascontiguousarray(scan.hu[0][::2]).astype(int) + 1024
    rows, columns = every.shape
    data = changed(
        files[0], Rows=rows, Columns=columns, PixelData=every.astype("<u2").tobytes(),
        PixelSpacing=[2.0, 1.0],
    )  # fmt: skip
    image = read_dicom(data, "it")
    assert image.hu.shape == (1, 2 * rows, columns)
    assert image.header.pixel_mm == 1.0
    assert np.corrcoef(image.hu[0].ravel(), scan.hu[0].ravel())[0, 1] > 0.95
