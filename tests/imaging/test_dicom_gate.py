"""Any header that pydicom can write gives right Hounsfield units, or a named reason."""

import io
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.pixels.processing import apply_modality_lut
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from kidney.errors import ImageError
from kidney.imaging.dicom import DicomImage, read_dicom
from kidney.imaging.dicom_header import geometry_of, upright_turns
from kidney.imaging.windows import ABDOMEN, MAX_HU, MIN_HU, to_grey
from tests.helpers.dicom_files import as_bytes

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value", "ignore:A value of")
SIDE = 32
AXES = {
    "axial": [1, 0, 0, 0, 1, 0],
    "prone": [-1, 0, 0, 0, -1, 0],
    "coronal": [1, 0, 0, 0, 0, -1],
    "sagittal": [0, 1, 0, 0, 0, -1],
    "turned": [0, 1, 0, 1, 0, 0],
}


def ct(hu: np.ndarray, *, bits: int, signed: bool, slope: float, intercept: float) -> Any:
    """Return a CT image whose stored values come close to `hu`, and fit its bits."""
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    stored = np.clip(np.rint((hu - intercept) / slope), low, high).astype(int)
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.Modality, dataset.SamplesPerPixel = "CT", 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = hu.shape
    dataset.BitsAllocated = 8 if bits == 8 else 16
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
    whole = (stored & ((1 << bits) - 1)).astype("<u1" if bits == 8 else "<u2")
    if signed:  # the sign fills what is above the stored bits, as scanners write it
        whole = stored.astype("<i1" if bits == 8 else "<i2")
    dataset.PixelData = whole.tobytes()
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    return dataset


def reference(data: bytes, mask: np.ndarray | None = None) -> np.ndarray:
    """Return HU as pydicom's own modality LUT has them, seen in the radiological convention."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    hu = np.rint(apply_modality_lut(dataset.pixel_array, dataset)).clip(MIN_HU, MAX_HU)
    if mask is not None:
        hu[mask] = MIN_HU
    transposed, left_right, up_down = upright_turns(*geometry_of(dataset)[:2])
    hu = hu.T if transposed else hu
    hu = hu[:, ::-1] if left_right else hu
    return (hu[::-1] if up_down else hu).astype(np.int16)


PICTURES = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).integers(-1024, 1500, (SIDE, SIDE + 8))
)


@settings(max_examples=150, deadline=None)
@given(
    hu=PICTURES, bits=st.sampled_from([8, 10, 12, 13, 16]), signed=st.booleans(),
    slope=st.sampled_from([1, 0.5, 2, 0.6103515625, 4.5, -1]),
    intercept=st.sampled_from([0, -1024, -1000.5, -8192, 32.25]),
    photometric=st.sampled_from(["MONOCHROME1", "MONOCHROME2"]),
    axes=st.sampled_from(list(AXES)), spacing=st.sampled_from([None, [0.8, 0.8], [0.7, 0.7]]),
    padding=st.sampled_from([None, -2000, 0, 63536]), as_lut=st.booleans(),
)  # fmt: skip
def test_valid_headers_give_the_units_of_pydicom(
    hu, bits, signed, slope, intercept, photometric, axes, spacing, padding, as_lut
):
    dataset = ct(hu, bits=bits, signed=signed, slope=slope, intercept=intercept)
    dataset.PhotometricInterpretation = photometric
    dataset.ImageOrientationPatient = AXES[axes]
    if spacing:
        dataset.PixelSpacing = spacing
    low, high = (-32768, 32767) if signed else (0, 65535)
    mask = None
    stored = np.frombuffer(
        dataset.PixelData, f"<{'i' if signed else 'u'}{dataset.BitsAllocated // 8}"
    ).reshape(hu.shape)
    if padding is not None and low <= padding <= high:
        dataset.PixelPaddingValue = padding
        dataset["PixelPaddingValue"].VR = "SS" if signed else "US"
        mask = stored == padding
    if as_lut and not signed and bits == 12:
        lut = pydicom.Dataset()
        lut.LUTDescriptor = [4096, 0, 16]
        lut.ModalityLUTType = "HU"
        lut.LUTData = np.arange(4096, dtype="<u2").tobytes()
        lut["LUTDescriptor"].VR, lut["LUTData"].VR = "US", "OW"
        dataset.ModalityLUTSequence = [lut]
        del dataset.RescaleSlope, dataset.RescaleIntercept
    data = as_bytes(dataset)
    image = read_dicom(data, "it")
    if any("padding" in doubt for doubt in image.header.doubts):
        mask = None
    np.testing.assert_array_equal(image.hu[0], reference(data, mask))


VALUES = {
    "SOPClassUID": [SecondaryCaptureImageStorage, "1.2.3", None],
    "Modality": ["MR", "", None],
    "RescaleSlope": [None, "", "1,0", "one", 0, 2],
    "RescaleIntercept": [None, "", "-1024,0", "HU", 0],
    "RescaleType": ["US", "MGML", "", "HU", None],
    "PixelSpacing": [["0,8", "0,8"], "", None, ["0.8"], ["2", "1"], ["0", "0"], "0.8 mm"],
    "ImageOrientationPatient": ["", None, [0] * 6, ["x"] * 6, [1, 0, 0]],
    "ImagePositionPatient": ["", "here", [0, 0], None],
    "SliceThickness": ["5 mm", "", None, 0],
    "WindowWidth": ["wide", 0, "", None],
    "InstanceNumber": ["1/5", "", None, 0],
    "AcquisitionNumber": ["first", ""],
    "NumberOfFrames": ["", 0, None, "two", 2],
    "ImageType": ["", None, ["ORIGINAL", "PRIMARY", "LOCALIZER"]],
    "PhotometricInterpretation": ["MONOCHROME1", "RGB", "", None],
    "SamplesPerPixel": [3, None],
    "BitsStored": [0, 17, None, 8],
    "HighBit": [15, None],
    "BitsAllocated": [1, 8, 32, None],
    "PixelRepresentation": [None, 1, 2],
    "PixelPaddingValue": [0, 1024, 65535],
    "PixelPaddingRangeLimit": [0, 65535],
    "Rows": [0, None, 1000],
}
REASONS = (
    "modality", "a CT slice", "grey", "bits a pixel", "less than expected", "at most", "frames",
    "BitsStored",
)  # fmt: skip
HARMLESS = (
    "ImagePositionPatient", "SliceThickness", "WindowWidth", "InstanceNumber", "AcquisitionNumber",
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.sampled_from(list(VALUES)), st.integers(0, 6), min_size=1, max_size=3),
    PICTURES,
)
def test_odd_headers_give_right_units_or_a_reason(choice: dict[str, int], hu: np.ndarray):
    plain = ct(hu, bits=12, signed=False, slope=1, intercept=-1024)
    plain.PixelSpacing = [0.8, 0.8]
    dataset = pydicom.dcmread(io.BytesIO(as_bytes(plain)))
    chosen = {key: VALUES[key][index % len(VALUES[key])] for key, index in choice.items()}
    for keyword, value in chosen.items():
        _put(dataset, keyword, value)
    image, refusal = _read(as_bytes(dataset))
    if image is None:
        assert not set(chosen) <= set(HARMLESS), refusal
        assert any(word in refusal for word in (*chosen, *REASONS)), (chosen, refusal)
        return
    if image.header.doubts or set(chosen) & {"PixelSpacing", "BitsStored", "PixelRepresentation"}:
        return
    slope = float(dataset.RescaleSlope)
    intercept = float(dataset.RescaleIntercept)
    expected = np.clip((hu + 1024) * slope + intercept, MIN_HU, MAX_HU)
    if "PixelPaddingValue" in dataset:
        assert (image.hu[0][image.hu[0] != expected] == MIN_HU).all()
    else:
        np.testing.assert_array_equal(image.hu[0], expected)


def _read(data: bytes) -> tuple[DicomImage | None, str]:
    try:
        return read_dicom(data, "it"), ""
    except ImageError as error:
        return None, f"{error.problem} {error.remedy}"


def _put(dataset: pydicom.Dataset, keyword: str, value: Any) -> None:
    """Set an element, to text that its type forbids as well: writers do."""
    if value is None:
        if keyword in dataset:
            delattr(dataset, keyword)
        return
    parts = value if isinstance(value, list) else [value]
    if any(isinstance(part, str) for part in parts):
        tag = pydicom.datadict.tag_for_keyword(keyword)
        text = "\\".join(map(str, parts)).encode()
        vr = pydicom.datadict.dictionary_VR(tag)
        dataset[tag] = pydicom.dataelem.RawDataElement(
            pydicom.tag.Tag(tag), vr, len(text), text + b" " * (len(text) % 2), 0, False, True
        )
    else:
        setattr(dataset, keyword, value)
        if keyword.startswith("PixelPadding"):
            dataset[keyword].VR = "US"


@pytest.mark.parametrize("keyword", ["PhotometricInterpretation", "SamplesPerPixel"])
def test_what_hounsfield_units_do_not_need_may_be_missing(keyword: str):
    dataset = ct(np.full((SIDE, SIDE), -1000), bits=12, signed=False, slope=1, intercept=-1024)
    delattr(dataset, keyword)
    assert (read_dicom(as_bytes(dataset), "it").hu == -1000).all()


def test_frames_that_the_header_leaves_out_are_told():
    dataset = ct(np.full((SIDE, SIDE), -1000), bits=12, signed=False, slope=1, intercept=-1024)
    dataset.PixelData *= 2
    assert "more pixels than its header" in "".join(
        read_dicom(as_bytes(dataset), "it").header.doubts
    )


@pytest.mark.slow
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (0.5, -1000.5), (2, 32)])
@pytest.mark.parametrize("bits", [12, 16])
def test_dcmtk_shows_the_same_picture(
    tmp_path: Path, bits: int, slope: float, intercept: float, signed: bool
):
    if shutil.which("dcm2pnm") is None:
        reason = "needs DCMTK: apt-get install dcmtk"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    hu = np.random.default_rng(0).integers(-1024, 1500, (SIDE, SIDE))
    dataset = ct(hu, bits=bits, signed=signed, slope=slope, intercept=intercept)
    (tmp_path / "it.dcm").write_bytes(as_bytes(dataset))
    window = [str(ABDOMEN.center), str(ABDOMEN.width)]
    subprocess.run(
        ["dcm2pnm", "+Ww", *window, tmp_path / "it.dcm", tmp_path / "it.pgm"],
        check=True,
        capture_output=True,
    )
    picture = np.asarray(Image.open(tmp_path / "it.pgm")).astype(int)
    ours = to_grey(read_dicom(as_bytes(dataset), "it").hu[0], ABDOMEN)
    assert abs(picture - ours).max() <= 1
