"""One file of an archive to its grey slices, with pseudonyms for the ids of the patient."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kidney.errors import ImageError, ImageSizeError, ImageTypeError, NoSliceError
from kidney.imaging.deidentify import pseudonym
from kidney.imaging.dicom import DicomHeader, read_dicom
from kidney.imaging.dicom_file import is_dicom
from kidney.imaging.dicom_order import group_series
from kidney.imaging.pictures import decode_picture, is_picture
from kidney.imaging.slices import read_slices
from kidney.imaging.windows import Window, to_grey

_START = 132  # bytes that show what a file is
_NAME = "the file"  # in messages: its path stands beside them
_MAGIC = b"DICM"


@dataclass(frozen=True, eq=False)
class Decoded:
    """The slices of one file."""

    # uint8 (H, W) each; frames of DICOM and slices of a volume from the head to the feet
    slices: list[NDArray[np.uint8]]
    instance: int | None = None  # InstanceNumber of DICOM; None: it has none
    study: str = ""  # pseudonyms of the UIDs and of PatientID; "" where there is none
    series: str = ""
    patient: str = ""


def decode(data: bytes, window: Window, key: bytes) -> Decoded:
    """Read a picture, a DICOM file or a NIfTI volume; its content tells which it is.

    Raises:
        ImageError: it is no slice. The message quotes nothing of the file.
    """
    start = data[:_START]
    try:
        # The preamble of a DICOM file may make a TIFF of it too.
        if is_picture(start) and start[128:] != _MAGIC:
            return Decoded([decode_picture(data, _NAME)])
        if is_dicom(start):
            return _dicom(data, window, key)
        with tempfile.NamedTemporaryFile() as file:  # a volume is read from a path
            file.write(data)
            file.flush()
            return Decoded(read_slices(Path(file.name), window, _NAME))
    except (ImageTypeError, ImageSizeError):
        raise
    except ImageError as error:
        # Behind the colon a decoder quotes what it stumbled over: a patient's name, perhaps.
        raise ImageError(error.problem.partition(": ")[0].rstrip(".") + ".", error.remedy) from None


def _dicom(data: bytes, window: Window, key: bytes) -> Decoded:
    image = read_dicom(data, _NAME)
    header: DicomHeader = image.header
    _, unfit = group_series([(_NAME, header)])
    if unfit:
        raise NoSliceError(
            f"Expected {_NAME} to be a CT slice, got {unfit[0][1]}.", "Nothing: it is passed over."
        )
    return Decoded(
        list(to_grey(image.hu, window)),
        header.instance,
        pseudonym(key, header.study_uid),
        pseudonym(key, header.series_uid),
        pseudonym(key, header.patient_id),
    )
