"""NIfTI volumes and masks, brought to the radiological convention.

nibabel is imported when a volume is read: the server reads none and lives without it.
"""

import gzip
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kidney.errors import ImageError, ImageSizeError, ImageTypeError
from kidney.imaging.windows import MIN_HU

MAX_VOXELS = 500_000_000  # 1,900 slices of 512 x 512, 1 GB of int16
_GZIP = b"\x1f\x8b"
_RADIOLOGICAL = ("I", "P", "L")  # head to feet, front to back, the patient's right to left


@dataclass(frozen=True)
class Volume:
    """A volume in the radiological convention.

    Attributes:
        voxels: (slices, rows, columns): slices run from the head to the feet, rows from the front
            to the back, columns from the patient's right to the left. int16 for an image (HU),
            uint8 for a mask.
        spacing: mm between slices, rows and columns.
    """

    voxels: NDArray[Any]
    spacing: tuple[float, float, float]


def read_volume(path: Path, name: str | None = None, max_voxels: int = MAX_VOXELS) -> Volume:
    """Read a NIfTI image, .nii or .nii.gz, whatever its axes.

    An oblique volume is turned by the axes that are closest, never resampled. Slope and
    intercept are applied, fractions are rounded, what is no number becomes air, and values end
    at the limits of int16.

    Args:
        path: of the file.
        name: how errors call it; the path where absent.
        max_voxels: the most voxels, checked before one is read.

    Returns:
        voxels int16.

    Raises:
        ImageTypeError: not NIfTI, or no volume of single numbers.
        ImageSizeError: more than `max_voxels`.
        ImageError: broken, truncated, or it cannot be read.
    """
    voxels, affine = _read(path, name or str(path), max_voxels)
    if voxels.dtype != np.int16:
        wide = np.nan_to_num(voxels.astype(np.float32), copy=False, nan=MIN_HU)
        voxels = np.rint(np.clip(wide, -32768, 32767)).astype(np.int16)
    return Volume(voxels, _spacing(affine))


def read_mask(
    path: Path, image: Path, name: str | None = None, max_voxels: int = MAX_VOXELS
) -> Volume:
    """Read the mask of an image.

    Args:
        path: of the mask, whole numbers from 0 to 255.
        image: what it was drawn on; only its header is read.
        name: how errors call the mask; the path where absent.
        max_voxels: the most voxels, checked before one is read.

    Returns:
        voxels uint8, turned as `read_volume` turns the image.

    Raises:
        ImageError: it has another shape or place than the image, other numbers, or as in
            `read_volume`.
    """
    name = name or str(path)
    voxels, affine = _read(path, name, max_voxels)
    shape, place = _layout(image, str(image))
    if voxels.shape != shape:
        raise ImageError(
            f"Expected the mask {name} to have the shape {shape} of {image}, got {voxels.shape}.",
            "Give the mask that was drawn on this image.",
        )
    # Half a voxel: writers round the numbers, and a mask of another scan lies far away.
    if not np.allclose(affine, place, rtol=0, atol=0.5 * min(_spacing(place))):
        raise ImageError(
            f"Expected the mask {name} to lie where {image} lies, but its affine is another.",
            "Give the mask that was drawn on this image.",
        )
    with np.errstate(invalid="ignore"):  # NaN to uint8; the comparison below refuses it
        numbers = voxels.astype(np.uint8)
    if not np.array_equal(numbers, voxels):
        raise ImageError(
            f"Expected the mask {name} to hold whole numbers from 0 to 255, got others.",
            "Export it as a label map.",
        )
    return Volume(numbers, _spacing(affine))


def is_nifti(start: bytes) -> bool:
    """Tell whether a file begins like one .nii, by its first 348 bytes or more, unpacked."""
    return start[344:347] == b"n+1" or start[4:7] == b"n+2"


def unpacked_start(path: Path, size: int = 352) -> bytes:
    """Return the first bytes of a file, or of what is gzipped in it.

    Raises:
        OSError, EOFError, zlib.error: it cannot be read or unpacked.
    """
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP
        file.seek(0)
        if not packed:
            return file.read(size)
        with gzip.GzipFile(fileobj=file) as content:
            return content.read(size)


def _read(path: Path, name: str, max_voxels: int) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return the voxels, turned, and the affine that belongs to them."""
    with _opened(path, name) as picture:
        count = math.prod(picture.shape)
        if count > max_voxels:
            raise ImageSizeError(
                f"Expected {name} to have at most {max_voxels:,} voxels, got {count:,}.",
                "Crop the volume, or split it.",
            )
        voxels = np.asanyarray(picture.dataobj).reshape(picture.shape[:3])
        turn, affine = _turn(picture)
        return np.ascontiguousarray(_apply(voxels, turn)), affine


def _layout(path: Path, name: str) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Return shape and affine of a volume as `_read` would turn it; no voxel is read."""
    with _opened(path, name) as picture:
        turn, affine = _turn(picture)
        empty = np.broadcast_to(np.uint8(0), picture.shape[:3])
        return _apply(empty, turn).shape, affine


@contextmanager
def _opened(path: Path, name: str) -> Iterator[Any]:
    """Open a volume whose voxels are read when they are asked for; all its errors become ours."""
    import nibabel as nib

    try:
        start = unpacked_start(path)
        if not start:
            raise ImageError(f"{name} is empty (0 bytes).", "Copy the file again.")
        if not is_nifti(start):
            raise ImageTypeError(
                f"Expected {name} to be a NIfTI volume in one file, but its content is not.",
                "Give a .nii or .nii.gz file.",
            )
        kind: Any = nib.Nifti2Image if start[4:7] == b"n+2" else nib.Nifti1Image
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP
            file.seek(0)
            picture = kind.from_stream(gzip.GzipFile(fileobj=file) if packed else file)
            if not (picture.header["qform_code"] or picture.header["sform_code"]):
                raise ImageError(
                    f"Expected {name} to say how it lies in the patient, but its qform and sform "
                    "codes are 0: head and feet, left and right would be a guess.",
                    "Convert it again from DICOM (dcm2niix writes both), or set the sform.",
                )
            shape = picture.shape
            if len(shape) == 4 and shape[3] == 1:
                shape = shape[:3]
            if len(shape) != 3 or min(shape) < 1 or picture.get_data_dtype().kind not in "iuf":
                raise ImageTypeError(
                    f"Expected {name} to be one volume of single numbers, got the shape "
                    f"{picture.shape} of {picture.get_data_dtype()}.",
                    "Export one volume without time steps or colours.",
                )
            yield picture
    except ImageError:
        raise
    except Exception as error:
        # nibabel, gzip and zlib raise OSError, EOFError, ValueError, HeaderDataError, zlib.error,
        # OverflowError, MemoryError and others for what a damaged file claims.
        message = str(error).strip().splitlines() or [type(error).__name__]
        raise ImageError(
            f"{name} cannot be read as a NIfTI volume: {message[0][:200]}.",
            "Copy or export the file again; it is truncated or damaged.",
        ) from error


def _turn(picture: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how the stored axes are to be turned, and the affine that is true afterwards."""
    orientations = _orientations()
    if not np.isfinite(picture.affine).all():
        raise ValueError("its affine has numbers that are not finite")
    stored = orientations.io_orientation(picture.affine)
    if np.isnan(stored).any():
        raise ValueError("its affine gives an axis no direction")
    turn = orientations.ornt_transform(stored, orientations.axcodes2ornt(_RADIOLOGICAL))
    return turn, picture.affine @ orientations.inv_ornt_aff(turn, picture.shape[:3])


def _apply(voxels: NDArray[Any], turn: NDArray[np.float64]) -> NDArray[Any]:
    turned: NDArray[Any] = _orientations().apply_orientation(voxels, turn)
    return turned


def _orientations() -> Any:
    from nibabel import orientations

    return orientations


def _spacing(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    slices, rows, columns = (float(step) for step in np.linalg.norm(affine[:3, :3], axis=0))
    return slices, rows, columns
