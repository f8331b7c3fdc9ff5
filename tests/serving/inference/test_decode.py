import io
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pydicom
import pytest

from kidney.errors import ImageError, ImageSizeError, ImageTypeError, NoSliceError
from kidney.imaging.dicom import read_dicom
from kidney.imaging.windows import Window, to_grey
from kidney.serving.guards.admission import LATE
from kidney.serving.inference.decode import Series, decode
from kidney.serving.problems import RequestError
from kidney.serving.settings import Settings
from tests.helpers.dicom_files import as_bytes, changed
from tests.helpers.pictures import encode, gradient
from tests.helpers.upload_files import localizer, multi_frame, packed, report, series

SETTINGS = Settings()
WINDOW = Window(center=60, width=300)
PICTURE = encode(gradient())
SECRET = "DOE^JOHN"
PIXELS = 96 * 96  # of a slice of the series


def decoded(*uploads: bytes, settings: Settings = SETTINGS, **options: bool) -> list[Series]:
    return decode(uploads, settings, WINDOW, **options)


def positions(one: Series) -> list[tuple[int, int]]:
    return [(slice_.file, slice_.frame) for slice_ in one.slices]


def greys(one: Series) -> np.ndarray:
    return np.stack([slice_.grey for slice_ in one.slices])


def expected() -> np.ndarray:
    """The slices of the series, head first, as the model should see them."""
    return np.concatenate([to_grey(read_dicom(data, "it").hu, WINDOW) for data in series()])


def test_pictures_are_one_series_in_the_order_sent():
    (one,) = decoded(PICTURE, encode(gradient(40, 40)), PICTURE)
    assert (one.kind, one.window, one.skipped) == ("pictures", None, [])
    assert positions(one) == [(1, 1), (2, 1), (3, 1)]
    assert [slice_.grey.shape for slice_ in one.slices] == [(48, 64), (40, 40), (48, 64)]
    assert all(slice_.hu is None for slice_ in one.slices)


def test_a_series_is_read_from_the_head_through_the_window_in_any_order():
    files = series()
    (one,) = decoded(files[2], files[0], files[3], files[1])
    assert positions(one) == [(2, 1), (4, 1), (1, 1), (3, 1)]
    np.testing.assert_array_equal(greys(one), expected())
    assert (one.kind, one.plane, one.window) == ("dicom", "axial", WINDOW)
    assert one.slice_mm is not None
    assert one.slice_mm > 0
    assert all(slice_.hu is None for slice_ in one.slices)


def test_an_archive_says_what_its_files_say():
    (one,) = decoded(packed(*series()[::-1], folder="CT/1/"))
    assert positions(one) == [(1, 4), (1, 3), (1, 2), (1, 1)]
    np.testing.assert_array_equal(greys(one), expected())


def test_the_frames_of_one_file_are_its_slices():
    (one,) = decoded(multi_frame())
    assert positions(one) == [(1, 1), (1, 2), (1, 3), (1, 4)]
    np.testing.assert_array_equal(greys(one), expected())


def test_hounsfield_units_are_kept_on_request():
    (one,) = decoded(*series(), with_hu=True)
    for slice_, data in zip(one.slices, series(), strict=True):
        np.testing.assert_array_equal(slice_.hu, read_dicom(data, "it").hu[0])


def test_pictures_are_a_series_beside_those_of_dicom():
    other = changed(series()[1], SeriesInstanceUID="1.2.3")
    found = decoded(series()[0], PICTURE, packed(other, PICTURE))
    assert [one.kind for one in found] == ["dicom", "dicom", "pictures"]
    assert [positions(one) for one in found] == [[(1, 1)], [(3, 1)], [(2, 1)]]
    # A picture in the archive of a disc is a logo; one that was sent by itself is a slice.
    assert [one.reason for one in found[0].skipped] == [
        "picture 2 in file 3: a picture beside DICOM slices"
    ]


def test_archives_and_documents_beside_slices_are_skipped():
    (one,) = decoded(packed(series()[0], packed(b"a program")), b"%PDF-1.7 a report")
    assert [(s.file, s.reason.partition(": ")[2]) for s in one.skipped] == [
        (1, "an archive or document inside the archive"),
        (2, "neither a picture nor a DICOM file"),
    ]
    with pytest.raises(ImageTypeError, match="its number 1 is an archive too"):
        decoded(packed(packed(series()[0])))


def test_series_without_an_id_are_told_apart_by_their_folders():
    files = [changed(data, SeriesInstanceUID=None) for data in series()]
    both = io.BytesIO()
    with ZipFile(both, "w") as archive:
        for number, data in enumerate(files):
            archive.writestr(f"{number % 2}/{number}", data)
    assert [len(one.slices) for one in decoded(both.getvalue())] == [2, 2]
    assert [len(one.slices) for one in decoded(*files)] == [4]


def test_what_is_no_slice_is_skipped_and_told():
    files = series()
    archive = packed(localizer(files[0]), files[0], b"a text", report(files[0]), files[1])
    (one,) = decoded(archive, report(files[1]))
    assert len(one.slices) == 2
    assert [(one.file, one.reason) for one in one.skipped] == [
        (1, "number 1 in file 1: a localizer: it shows where slices lie and is none"),
        (1, "number 3 in file 1: neither a picture nor a DICOM file"),
        (1, "number 4 in file 1: a DICOM file without a picture"),
        (2, "file 2: a DICOM file without a picture"),
    ]


def test_what_is_no_slice_is_skipped_beside_the_series_of_its_study():
    first, second = series()[:2]
    second = changed(second, StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1")
    other = changed(localizer(second), SeriesInstanceUID="1.2.2")
    one, two = decoded(first, other, second)
    assert (one.skipped, [skip.file for skip in two.skipped]) == ([], [2])


@pytest.mark.parametrize(
    "upload",
    [
        localizer(series()[0]),
        report(series()[0]),
        changed(series()[0], Modality="MR"),
        packed(report(series()[0]), localizer(series()[1])),
    ],
    ids=["localizer", "report", "MR", "archive of these"],
)
def test_nothing_but_what_is_no_slice_is_an_error(upload):
    with pytest.raises(NoSliceError, match=r"file 1|number 1 in file 1"):
        decoded(upload)


@pytest.mark.parametrize("upload", [b"a text", packed(b"a text"), packed()])
def test_nothing_that_is_read_here_is_an_error(upload):
    with pytest.raises(ImageTypeError, match="file 1"):
        decoded(upload)


def test_a_broken_slice_is_an_error_and_not_a_gap():
    files = list(series())
    files[2] = files[2][:-1000]
    with pytest.raises(ImageError, match=r"^file 3 begins like a DICOM"):
        decoded(*files)
    with pytest.raises(ImageError, match=r"^number 3 in file 1 begins like a DICOM"):
        decoded(packed(*files))
    with pytest.raises(ImageError, match="number 1 in file 1 begins like a PNG"):
        decoded(packed(PICTURE[:200]))


def test_files_of_all_uploads_are_counted():
    limited = Settings(max_files=5)
    assert decoded(*series(), PICTURE, settings=limited)
    with pytest.raises(ImageSizeError, match=r"at most 5 files .* but file 3 goes beyond"):
        decoded(PICTURE, PICTURE, packed(*series()), settings=limited)


def test_pixels_of_all_uploads_are_counted_before_they_are_decoded():
    limited = Settings(max_request_pixels=3 * PIXELS)
    assert decoded(*series()[:3], settings=limited)
    for too_many in (series(), [packed(*series())], [multi_frame()]):
        with pytest.raises(ImageSizeError, match=r"file (1|4) .*pixels"):
            decoded(*too_many, settings=limited)
    with pytest.raises(ImageSizeError, match="of which 0 were left"):
        decoded(*series()[:3], PICTURE, settings=limited)


def test_pixels_of_one_picture_and_of_one_frame_are_limited():
    limited = Settings(max_pixels=PIXELS - 1)
    with pytest.raises(ImageSizeError, match="pixels a frame"):
        decoded(series()[0], settings=limited)
    with pytest.raises(ImageSizeError, match="file 2"):
        decoded(PICTURE, encode(gradient(100, 100)), settings=limited)


def test_frames_are_limited():
    with pytest.raises(ImageSizeError, match="at most 3 frames"):
        decoded(multi_frame(), settings=Settings(max_frames=3))


def test_after_the_deadline_nothing_more_is_decoded(monkeypatch: pytest.MonkeyPatch):
    seen = []

    def check() -> None:
        seen.append(1)
        if len(seen) == 3:
            raise RequestError(LATE)

    monkeypatch.setattr("kidney.serving.inference.decode.check_deadline", check)
    with pytest.raises(RequestError):
        decoded(packed(*series()))
    assert len(seen) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"Modality": SECRET},
        {"PhotometricInterpretation": SECRET},
        {"ImageType": [SECRET, "PRIMARY", "LOCALIZER"]},
        {"PatientName": SECRET, "PixelData": b"short"},
        {"InstanceNumber": None, "SeriesNumber": None, "RescaleSlope": None, "Rows": 7},
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_no_value_of_a_file_is_quoted(change):
    strange = changed(series()[0], **change)
    with pytest.raises(ImageError) as caught:
        decoded(strange)
    assert SECRET not in str(caught.value)


@pytest.mark.filterwarnings("ignore")
def test_what_a_decoder_stumbles_over_is_not_quoted():
    plain = series()[0]
    slope = plain.index(b"\x28\x00\x53\x10DS") + 8  # what follows are its digits
    strange = plain[:slope] + b"Q" + plain[slope + 1 :]
    with pytest.raises(
        ImageError, match=r"^Expected RescaleSlope of file 1 to be a number"
    ) as caught:
        decoded(strange)
    assert "Q" not in str(caught.value).replace("Quality", "")


@pytest.mark.filterwarnings("ignore")
def test_no_reason_quotes_a_value():
    strange = changed(series()[0], Modality=SECRET)
    (one,) = decoded(series()[1], strange)
    assert [one.reason for one in one.skipped] == [
        "file 2: another modality: only CT has Hounsfield units"
    ]


@pytest.mark.filterwarnings("ignore")
def test_no_unknown_transfer_syntax_is_quoted():
    dataset = pydicom.dcmread(io.BytesIO(series()[0]))
    dataset.file_meta.TransferSyntaxUID = SECRET
    with pytest.raises(ImageError) as caught:
        decoded(as_bytes(dataset))
    assert SECRET not in str(caught.value)


def test_a_real_series_is_read(shared: Path):
    (one,) = decoded((shared / "data" / "ct-dicom-series.zip").read_bytes())
    assert len(one.slices) == 20
    assert {slice_.grey.shape for slice_ in one.slices} == {(512, 512)}
    assert (one.plane, one.slice_mm, one.contrast) == ("axial", pytest.approx(2.0), "enhanced")
