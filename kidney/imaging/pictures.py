"""JPEG and PNG files to 8-bit grey slices."""

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from kidney.errors import ImageError, ImageSizeError, ImageTypeError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")
MAX_PIXELS = 16_000_000  # a CT slice has 0.26 million; 4000 x 4000 leaves room for photographs
MIN_SIDE = 32
_MODES_WITH_16_BITS = ("I", "I;16", "I;16B", "I;16L")


def decode_picture(
    data: bytes, name: str = "the picture", max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """Decode a JPEG or PNG to one grey slice.

    Args:
        data: the whole file.
        name: how errors call it.
        max_pixels: the most pixels to decode; checked before any pixel is decoded.

    Returns:
        uint8 array (height, width), 0 to 255. Colours become luma (ITU-R 601), 16-bit greys are
        divided by 257, transparency is dropped, and the EXIF orientation is applied.

    Raises:
        ImageTypeError: neither JPEG nor PNG.
        ImageSizeError: more than `max_pixels`, or a side below 32 pixels.
        ImageError: empty, truncated or broken.
    """
    if not data:
        raise ImageError(f"{name} is empty (0 bytes).", "Send a JPEG or PNG file with content.")
    try:
        with warnings.catch_warnings():
            # Pillow warns at 89 megapixels; the limit below is stricter and raises.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
    except Image.DecompressionBombError as error:
        raise _too_large(name, "more pixels than Pillow opens", max_pixels) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageTypeError(
            f"Expected {name} to be a JPEG or PNG picture, but its content is neither.",
            "Send a JPEG or PNG file; a file's name does not matter, its content does.",
        ) from error
    width, height = picture.size
    if width * height > max_pixels:
        raise _too_large(name, f"{width} x {height}", max_pixels)
    if min(width, height) < MIN_SIDE:
        raise ImageSizeError(
            f"Expected {name} to be at least {MIN_SIDE} pixels a side, got {width} x {height}.",
            "Send the slice at its original resolution.",
        )
    try:
        upright = ImageOps.exif_transpose(picture)
        if upright.mode in _MODES_WITH_16_BITS:
            wide = np.asarray(upright, dtype=np.int64)
            return (np.clip(wide, 0, 65535) // 257).astype(np.uint8)
        return np.array(upright.convert("L"), dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(
            f"{name} begins like a {picture.format} but cannot be decoded: {error}.",
            "Copy or export the file again; it is truncated or damaged.",
        ) from error


def _too_large(name: str, size: str, max_pixels: int) -> ImageSizeError:
    return ImageSizeError(
        f"Expected {name} to have at most {max_pixels:,} pixels, got {size}.",
        "Send the slice at its original resolution (a CT slice is about 512 x 512).",
    )
