"""Any supported file to its grey slices; its content decides the type, not its name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kidney.errors import ConfigError, ImageError, ImageTypeError
from kidney.imaging.dicom import read_dicom
from kidney.imaging.dicom_file import is_dicom
from kidney.imaging.nifti import is_nifti, read_volume, unpacked_start
from kidney.imaging.pictures import decode_picture, is_picture
from kidney.imaging.windows import Window, to_grey


def read_slices(path: Path, window: Window | None, name: str) -> list[NDArray[np.uint8]]:
    """Read the slices of a picture (one), a DICOM file (its frames) or a NIfTI volume.

    Args:
        path: of the file.
        window: through which Hounsfield units are shown; pictures are grey already and need none.
        name: how errors call it.

    Returns:
        uint8 (H, W) each, 0 to 255, from the head to the feet, as `decode_picture`, `read_dicom`
        and `read_volume` return them.

    Raises:
        ConfigError: Hounsfield units, and no window.
        ImageError: of an unknown kind, broken, too large, or it cannot be read.
    """
    try:
        start = unpacked_start(path)
        # The preamble of a DICOM file may make a TIFF of it too; a window says it was no picture.
        both = start[128:132] == b"DICM" and window is not None
        whole = path.read_bytes() if is_picture(start) and not both else b""
    except Exception as error:  # gzip raises OSError, EOFError, zlib.error and struct.error
        raise ImageError(
            f"{name} cannot be read: {error}.", "Check the path, or copy the file again."
        ) from error
    if not start:
        raise ImageError(f"{name} is empty (0 bytes).", "Copy the file again.")
    if whole:
        return [decode_picture(whole, name)]
    if is_nifti(start):
        return _shown(lambda: read_volume(path, name).voxels, window, name)
    if is_dicom(start):
        return _shown(lambda: read_dicom(path, name).hu, window, name)
    raise ImageTypeError(
        f"Expected {name} to be a JPEG, PNG, TIFF, DICOM or NIfTI file, but its content is none "
        "of them.",
        "Name a file with slices; its suffix does not matter, its content does.",
    )


def _shown(
    read: Callable[[], NDArray[Any]], window: Window | None, name: str
) -> list[NDArray[np.uint8]]:
    if window is None:
        raise ConfigError(
            f"{name} holds Hounsfield units, and no window says how to show them.",
            "Set a window: abdomen, kidney, bone or lung, or WIDTH/LEVEL such as 350/50.",
        )
    return list(to_grey(read(), window))
