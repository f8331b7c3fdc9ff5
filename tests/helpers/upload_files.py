"""Small files of every kind that the server reads, as bytes."""

import io
import zipfile
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pydicom
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from tests.helpers.dicom_files import as_bytes, changed, compressed, phantom_series
from tests.helpers.pictures import encode, gradient


@cache
def series() -> tuple[bytes, ...]:
    """The four slices of a phantom, 96 x 96, as uncompressed DICOM, head first."""
    with TemporaryDirectory() as folder:
        return tuple(path.read_bytes() for path in phantom_series(Path(folder))[1])


@cache
def multi_frame() -> bytes:
    """The same slices as frames of one file."""
    slices = [pydicom.dcmread(io.BytesIO(data)) for data in series()]
    pixels = b"".join(one.PixelData for one in slices)
    return changed(series()[0], NumberOfFrames=len(slices), PixelData=pixels)


def localizer(data: bytes) -> bytes:
    """The same file as one that shows where slices lie."""
    return changed(data, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SeriesInstanceUID="1.9")


def report(data: bytes) -> bytes:
    """The same file without a picture, as a report has none."""
    return changed(data, PixelData=None, Rows=None, Columns=None, Modality="SR")


def packed(*files: bytes, folder: str = "", method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for number, data in enumerate(files):
            archive.writestr(f"{folder}{number}", data)
    return buffer.getvalue()


@cache
def seeds() -> dict[str, tuple[bytes, ...]]:
    """Whole files by kind."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    wide = gradient().astype(np.uint16) * 257
    jpeg = (
        encode(gradient(), "JPEG"),
        encode(noise, "JPEG"),
        encode(noise, "JPEG", progressive=True),
    )
    png = (encode(gradient()), encode(noise), encode(wide), encode(gradient() > 99))
    plain = series()[0]
    dicom = (
        plain,
        plain[132:],
        multi_frame(),
        *(compressed(plain, syntax) for syntax in (RLELossless, JPEG2000Lossless, JPEGLSLossless)),
    )
    archives = (
        packed(*series()),
        packed(jpeg[0], png[0], folder="a/b/"),
        packed(*series()[:2], report(plain), method=zipfile.ZIP_STORED),
    )
    return {"jpeg": jpeg, "png": png, "dicom": dicom, "zip": archives}


__all__ = ["as_bytes", "localizer", "multi_frame", "packed", "report", "seeds", "series"]
