"""DICOM files made for the tests, as bytes, in any transfer syntax."""

import io
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from kidney.data.phantom.files import write_dicom_series
from kidney.data.phantom.scan import PhantomScan, generate_scan
from tests.helpers.pictures import encode


def phantom_series(folder: Path) -> tuple[PhantomScan, list[Path]]:
    """Write a small scan with a finding as uncompressed slices."""
    scan = generate_scan(7, "stone", size=96, max_slices=4)
    return scan, write_dicom_series(folder / "series", scan)


def as_bytes(dataset: pydicom.Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def changed(data: bytes, **values: object) -> bytes:
    """Return the file with other values; None takes an element out."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    for keyword, value in values.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
            if keyword.startswith("PixelPadding"):
                dataset[keyword].VR = "US"  # as the values here are, whatever the pixels are
    return as_bytes(dataset)


def compressed(data: bytes, syntax: UID) -> bytes:
    """Return an uncompressed file in another transfer syntax, without loss."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    if syntax == RLELossless:
        dataset.compress(RLELossless)
        return as_bytes(dataset)
    if syntax in (ExplicitVRBigEndian, ImplicitVRLittleEndian):
        plain = pydicom.Dataset()  # one that comes from no file has no byte order yet
        for element in dataset:
            plain[element.tag] = element
        plain.file_meta = dataset.file_meta
        plain.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            plain.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        plain["PixelData"].VR = "OW"
        return as_bytes(plain)
    frames = np.atleast_3d(dataset.pixel_array.T).T  # (frames, rows, columns)
    if syntax in (JPEGLossless, JPEGLosslessSV1):
        codes = [lossless_jpeg(frame.view(np.uint16)) for frame in frames]
    elif syntax == JPEGLSLossless:
        codes = [imagecodecs.jpegls_encode(frame.view(np.uint16)) for frame in frames]
    elif syntax in (JPEG2000Lossless, JPEG2000):
        codes = [encode(frame.view(np.uint16), "JPEG2000", no_jp2=True) for frame in frames]
    else:
        raise ValueError(syntax)
    return with_codes(data, syntax, codes)


def lossless_jpeg(picture: np.ndarray) -> bytes:
    """Encode uint16 (rows, columns)."""
    return imagecodecs.jpeg8_encode(picture, lossless=True, bitspersample=16)


def with_codes(data: bytes, syntax: UID, codes: list[bytes], **values: object) -> bytes:
    """Return the file with these compressed frames in place of its pixels."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate(codes)
    dataset["PixelData"].VR = "OB"
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return as_bytes(dataset)
