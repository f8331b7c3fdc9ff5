"""DICOM files to Hounsfield units, upright and within limits."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels.processing import apply_modality_lut

from kidney.errors import ImageError, ImageSizeError, ImageTypeError, NoSliceError
from kidney.imaging.dicom_file import broken, open_dataset
from kidney.imaging.dicom_header import (
    DicomHeader,
    first,
    geometry_of,
    header_of,
    normal_of,
    read_header,
    shown_modality,
    upright_turns,
)
from kidney.imaging.dicom_pixels import stored_frames
from kidney.imaging.windows import MAX_HU, MIN_HU

__all__ = ["DicomHeader", "DicomImage", "read_dicom", "read_header"]

MAX_PIXELS = 300_000_000  # of all frames together: 1,100 slices of 512 x 512, 0.6 GB of HU
MAX_FRAME_PIXELS = 16_000_000  # of one frame
MAX_FRAMES = 4_000
MIN_SIDE = 32


@dataclass(frozen=True)
class DicomImage:
    """The slices of one DICOM file.

    Attributes:
        header: as `read_header` returns it; rows and columns are those stored.
        hu: int16 (frames, H, W), Hounsfield units, -1024 to 3071, seen in the radiological
            convention: axial slices from the feet, with the patient's right on the left and the
            front at the top; others with the head at the top. Frames run from the head to the
            feet (front to back, right to left) where the file knows their positions.
    """

    header: DicomHeader
    hu: NDArray[np.int16]


def read_dicom(
    data: bytes | Path,
    name: str,
    max_pixels: int = MAX_PIXELS,
    max_frames: int = MAX_FRAMES,
    max_frame_pixels: int = MAX_FRAME_PIXELS,
) -> DicomImage:
    """Read the slices of a DICOM CT file in Hounsfield units.

    Stored values go through the modality LUT, or slope and intercept (PS3.3 C.11.1). Padding
    outside of the scanned circle becomes air. MONOCHROME1 asks a viewer to show high values dark;
    it says nothing about the units, so HU are the same and bone stays bright.

    Args:
        data: the whole file, or where it lies.
        name: how errors call it.
        max_pixels: the most pixels of all frames together, checked before one is decoded.
        max_frames: the most frames.
        max_frame_pixels: the most pixels of one frame.

    Raises:
        NoSliceError: DICOM, but no CT picture in grey.
        ImageTypeError: not DICOM, or a transfer syntax without a decoder.
        ImageSizeError: more than a limit allows, or a side below 32 pixels.
        ImageError: broken, truncated, or it cannot be read.
    """
    dataset = open_dataset(data, name, pixels=True)
    try:
        header = header_of(dataset)
        _check_kind(dataset, header, name)
        _check_size(header, name, max_pixels, max_frames, max_frame_pixels)
        hu = np.empty((header.frames, header.rows, header.columns), dtype=np.int16)
        frames = stored_frames(dataset, header, name)
        for frame, stored in zip(range(header.frames), frames, strict=True):
            hu[frame] = _hounsfield(dataset, stored, frame)
        return DicomImage(header, _upright(dataset, hu))
    except ImageError:
        raise
    except Exception as error:  # values are parsed when they are asked for; see open_dataset
        raise broken(name, error) from error


def _check_kind(dataset: pydicom.Dataset, header: DicomHeader, name: str) -> None:
    if "PixelData" not in dataset or header.rows < 1 or header.columns < 1:
        raise NoSliceError(
            f"Expected {name} to be a CT slice, got a DICOM file without a picture.",
            "Send the CT slices of the series, not its reports, directories or structures.",
        )
    if header.modality != "CT":
        raise NoSliceError(
            f"Expected {name} to be CT, got {shown_modality(header.modality)}: only CT has "
            "Hounsfield units.",
            "Send CT slices.",
        )
    grey = str(dataset.get("PhotometricInterpretation", "MONOCHROME2")).startswith("MONOCHROME")
    if dataset.get("SamplesPerPixel", 1) != 1 or not grey:
        raise NoSliceError(
            f"Expected {name} to be grey, got colours: a capture of a screen has no Hounsfield "
            "units.",
            "Send the original slices of the series.",
        )
    if dataset.get("BitsAllocated") not in (8, 16):
        raise ImageTypeError(
            f"Expected {name} to have 8 or 16 bits a pixel, got another number.",
            "Export it as a plain CT file.",
        )


def _check_size(
    header: DicomHeader, name: str, max_pixels: int, max_frames: int, max_frame_pixels: int
) -> None:
    size = f"{header.frames} x {header.rows} x {header.columns}"
    pixels = header.rows * header.columns
    if header.frames > max_frames or header.frames * pixels > max_pixels:
        raise ImageSizeError(
            f"Expected {name} to have at most {max_frames:,} frames and {max_pixels:,} pixels, "
            f"got {size}.",
            "Send single slices at their original resolution (about 512 x 512).",
        )
    if pixels > max_frame_pixels:
        raise ImageSizeError(
            f"Expected {name} to have at most {max_frame_pixels:,} pixels a frame, got {size}.",
            "Send slices at their original resolution (about 512 x 512).",
        )
    if min(header.rows, header.columns) < MIN_SIDE:
        raise ImageSizeError(
            f"Expected {name} to be at least {MIN_SIDE} pixels a side, got {size}.",
            "Send the slice at its original resolution.",
        )


def _hounsfield(dataset: pydicom.Dataset, stored: NDArray[Any], frame: int) -> NDArray[np.int16]:
    """Return HU of one frame of stored values."""
    if dataset.get("ModalityLUTSequence"):
        values = apply_modality_lut(stored, dataset)
    else:
        group = "PixelValueTransformationSequence"
        slope = float((first(dataset, group, "RescaleSlope", frame) or [1])[0])
        intercept = float((first(dataset, group, "RescaleIntercept", frame) or [0])[0])
        if not (math.isfinite(slope) and math.isfinite(intercept)) or slope == 0:
            raise ValueError(f"slope {slope:g} and intercept {intercept:g} give no HU")
        if slope == 1 and intercept.is_integer() and abs(intercept) < 1 << 20:
            values = stored.astype(np.int32) + np.int32(intercept)
        else:
            values = np.rint(stored.astype(np.float64) * slope + intercept)
    hu: NDArray[np.int16] = np.clip(values, MIN_HU, MAX_HU).astype(np.int16)
    padding = _padding(dataset, stored.dtype)
    if padding is not None:
        hu[(stored >= padding[0]) & (stored <= padding[1])] = MIN_HU
    return hu


def _padding(dataset: pydicom.Dataset, dtype: np.dtype[Any]) -> tuple[int, int] | None:
    """Return the first and last stored value that mean "never scanned" (PS3.3 C.7.5.1.1.2)."""
    if dataset.get("PixelPaddingValue") is None:
        return None
    limits = [int(dataset.PixelPaddingValue)]
    limits.append(int(dataset.get("PixelPaddingRangeLimit") or limits[0]))
    if dtype.kind == "i":  # writers put 63,536 where -2,000 is meant
        limits = [limit - (1 << 16) if limit >= 1 << 15 else limit for limit in limits]
    return min(limits), max(limits)


def _upright(dataset: pydicom.Dataset, hu: NDArray[np.int16]) -> NDArray[np.int16]:
    """Orient frames in the radiological convention, and sort them where positions are known."""
    row, column, _ = geometry_of(dataset)
    normal = normal_of(row, column)
    if row is None or column is None or normal is None:
        return hu
    hu = _in_order(dataset, hu, normal)
    transposed, left_right, up_down = upright_turns(row, column)
    if transposed:
        hu = hu.transpose(0, 2, 1)
    if left_right:
        hu = hu[:, :, ::-1]
    if up_down:
        hu = hu[:, ::-1]
    return np.ascontiguousarray(hu)


def _in_order(
    dataset: pydicom.Dataset, hu: NDArray[np.int16], normal: NDArray[np.float64]
) -> NDArray[np.int16]:
    if len(hu) == 1 or not dataset.get("PerFrameFunctionalGroupsSequence"):
        return hu
    positions = [geometry_of(dataset, frame)[2] for frame in range(len(hu))]
    heights = [float(normal @ place) for place in positions if place is not None]
    if len(set(heights)) < len(hu):  # some are unknown, or were scanned again: the file's order
        return hu
    return hu[np.argsort(heights)[::-1]]
