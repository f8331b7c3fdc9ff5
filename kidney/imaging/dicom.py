"""DICOM files to Hounsfield units, upright and within limits."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.pixels.processing import apply_modality_lut
from pydicom.uid import UID, ExplicitVRBigEndian

from kidney.errors import ImageError, ImageSizeError, ImageTypeError, NoSliceError
from kidney.imaging.dicom_file import broken, open_dataset
from kidney.imaging.dicom_header import (
    DicomHeader,
    geometry_of,
    header_of,
    needed,
    normal_of,
    read_header,
    same_direction,
    upright_turns,
)
from kidney.imaging.dicom_pixels import stored_frames
from kidney.imaging.windows import MAX_HU, MIN_HU

__all__ = ["DicomHeader", "DicomImage", "read_dicom", "read_header"]

MAX_PIXELS = 300_000_000  # of all frames together: 1,100 slices of 512 x 512, 0.6 GB of HU
MAX_FRAME_PIXELS = 16_000_000  # of one frame
MAX_FRAMES = 4_000
MIN_SIDE = 32
_AIR, _SOME_AIR = -900, -300  # HU: air lies at -1000; part of a pixel of it is enough for doubt
_TISSUE = 300  # HU: fat, water, blood and organs lie between this and its negative
_MOST_AT_LIMIT = 0.2  # share of pixels at the highest value
_SQUARE = 0.01  # of the aspect of pixels
_MOST_SIDE = 4_096


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
        _complete(dataset, header, name)
        _check_size(header, name, max_pixels, max_frames, max_frame_pixels)
        hu = np.empty((header.frames, header.rows, header.columns), dtype=np.int16)
        frames = stored_frames(dataset, header, name)
        doubts: set[str] = set()
        for frame, stored in zip(range(header.frames), frames, strict=True):
            hu[frame], doubt = _hounsfield(dataset, stored, frame, name)
            doubts |= doubt
        doubts |= _stored_doubts(dataset, header) | _doubts(hu) | _frame_doubts(dataset, header)
        header = replace(header, doubts=tuple(sorted(doubts)))
        return DicomImage(header, _upright(dataset, _square(hu, header.aspect)))
    except ImageError:
        raise
    except Exception as error:  # values are parsed when they are asked for; see open_dataset
        raise broken(name, error) from error


def _check_kind(dataset: pydicom.Dataset, header: DicomHeader, name: str) -> None:
    if unfit := header.unfit or (
        "" if "PixelData" in dataset else "a DICOM file without a picture"
    ):
        raise NoSliceError(
            f"Expected {name} to be a CT slice, got {unfit}.",
            "Send the original CT slices of the series, not its reports, scouts, maps or captures.",
        )
    grey = str(dataset.get("PhotometricInterpretation") or "MONOCHROME").startswith("MONOCHROME")
    if (dataset.get("SamplesPerPixel") or 1) != 1 or not grey:
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


def _complete(dataset: pydicom.Dataset, header: DicomHeader, name: str) -> None:
    """Give the dataset what decoders ask for and HU do not need; refuse what these need by name."""
    ranges = {"BitsStored": range(1, dataset.BitsAllocated + 1), "PixelRepresentation": range(2)}
    for keyword, allowed in ranges.items():
        if dataset.get(keyword) not in allowed:
            raise ImageError(
                f"Expected {keyword} of {name} to be {allowed[0]} to {allowed[-1]}, but it is "
                "missing or something else.",
                "Export the series again from the archive: in CT images the element is required.",
            )
    dataset.PhotometricInterpretation = dataset.get("PhotometricInterpretation") or "MONOCHROME2"
    dataset.SamplesPerPixel = 1
    dataset.NumberOfFrames = header.frames


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


def _hounsfield(
    dataset: pydicom.Dataset, stored: NDArray[Any], frame: int, name: str
) -> tuple[NDArray[np.int16], set[str]]:
    """Return HU of one frame of stored values, and what is doubtful about its padding."""
    if dataset.get("ModalityLUTSequence"):
        values = apply_modality_lut(stored, dataset)
    else:
        slope, intercept = _rescale(dataset, stored, frame, name)
        if slope == 1 and intercept.is_integer() and abs(intercept) < 1 << 20:
            values = stored.astype(np.int32) + np.int32(intercept)
        else:
            values = np.rint(stored.astype(np.float64) * slope + intercept)
    hu: NDArray[np.int16] = np.clip(values, MIN_HU, MAX_HU).astype(np.int16)
    padding = _padding(dataset, stored.dtype)
    if padding is None:
        return hu, set()
    never = (stored >= padding[0]) & (stored <= padding[1])
    if (abs(hu[never]) < _TISSUE).any():
        # Taken at its word, it would turn water, fat or kidney to air.
        return hu, {"its padding value lies among those of tissue, so it was not taken for padding"}
    hu[never] = MIN_HU
    return hu, set()


def _rescale(
    dataset: pydicom.Dataset, stored: NDArray[Any], frame: int, name: str
) -> tuple[float, float]:
    """Return slope and intercept of one frame.

    They are of type 1 in CT images. Where both are missing, signed numbers among which there is air
    are Hounsfield units already; anything else would be a guess that is wrong by a thousand.
    """
    group = "PixelValueTransformationSequence"
    found: dict[str, float] = {}
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        if values := needed(dataset, group, keyword, frame, name):
            found[keyword] = values[0]
    if not found and stored.dtype.kind == "i" and stored.min() <= _AIR:
        return 1.0, 0.0
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        if keyword not in found:
            raise ImageError(
                f"Expected {name} to have {keyword}, which turns its numbers into Hounsfield "
                "units, but it is missing.",
                "Export the series again from the archive: in CT images the element is required.",
            )
    slope, intercept = found["RescaleSlope"], found["RescaleIntercept"]
    if not (math.isfinite(slope) and math.isfinite(intercept)) or slope == 0:
        raise ImageError(
            f"Expected RescaleSlope and RescaleIntercept of {name} to give Hounsfield units, but "
            "the slope is 0 or one of them is infinite.",
            "Export the series again from the archive.",
        )
    return slope, intercept


def _stored_doubts(dataset: pydicom.Dataset, header: DicomHeader) -> set[str]:
    """Return what the header says of stored values and these contradict."""
    bits = dataset.BitsStored
    native = not UID(dataset.file_meta.TransferSyntaxUID).is_encapsulated
    frame = dataset.Rows * dataset.Columns * dataset.BitsAllocated // 8
    if native and len(dataset.PixelData) >= (header.frames + 1) * frame:
        return {"it holds more pixels than its header says, and these were left out"}
    if native and dataset.BitsAllocated == 16 and bits < 16 and not dataset.PixelRepresentation:
        size = len(dataset.PixelData) // 2 * 2
        order = ">u2" if dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian else "<u2"
        if (np.frombuffer(dataset.PixelData[:size], order) >> bits).any():
            return {"some numbers have more bits than the header says"}
    return set()


def _doubts(hu: NDArray[np.int16]) -> set[str]:
    """Return why numbers may be no Hounsfield units: a body has air around it or in it."""
    if (hu >= MAX_HU).mean() > _MOST_AT_LIMIT:
        return {"many numbers lie above all that a scanner gives, as if a sign was lost"}
    if hu.min() > _SOME_AIR:
        return {"nothing in the slice is air, so its numbers may be no Hounsfield units"}
    if hu.max() <= _SOME_AIR:
        return {"everything in the slice is air, so its numbers may be no Hounsfield units"}
    return set()


def _frame_doubts(dataset: pydicom.Dataset, header: DicomHeader) -> set[str]:
    """Return what is odd about where the frames of an enhanced CT lie."""
    grouped = dataset.get("PerFrameFunctionalGroupsSequence")
    if header.frames == 1 or header.normal is None or not grouped:
        return set()
    found: set[str] = set()
    heights: list[float] = []
    for frame in range(header.frames):
        row, column, place = geometry_of(dataset, frame)
        normal = normal_of(row, column)
        if normal is None or not same_direction(tuple(normal), header.normal):
            found.add("its frames have several orientations, and are turned as the first is")
        elif place is not None:
            heights.append(round(float(normal @ place), 3))
    if len(set(heights)) < len(heights):
        found.add("some frames lie where another one lies")
    return found


def _square(hu: NDArray[np.int16], aspect: float) -> NDArray[np.int16]:
    """Return frames (N, H, W) with square pixels of the smaller distance; linear in between."""
    if abs(aspect - 1) < _SQUARE:
        return hu
    height, width = hu.shape[1:]
    size = (
        (width, min(round(height * aspect), _MOST_SIDE))
        if aspect > 1
        else (min(round(width / aspect), _MOST_SIDE), height)
    )
    resized = [
        Image.fromarray(one.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
        for one in hu
    ]
    square: NDArray[np.int16] = np.rint(np.stack([np.asarray(one) for one in resized])).astype(
        np.int16
    )
    return square


def _padding(dataset: pydicom.Dataset, dtype: np.dtype[Any]) -> tuple[int, int] | None:
    """Return the first and last stored value that mean "never scanned" (PS3.3 C.7.5.1.1.2)."""
    if dataset.get("PixelPaddingValue") is None:
        return None
    limits = [int(dataset.PixelPaddingValue)]
    last = dataset.get("PixelPaddingRangeLimit")
    limits.append(limits[0] if last is None else int(last))
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
