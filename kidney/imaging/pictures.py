"""JPEG, PNG and TIFF files to 8-bit grey slices."""

import io
import re
import struct
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from kidney.errors import ImageError, ImageSizeError, ImageTypeError
from kidney.imaging.claims import check_claims

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
MAX_PIXELS = 16_000_000  # a CT slice has 0.26 million; 4000 x 4000 leaves room for photographs
MIN_SIDE = 32
# All that Pillow takes for these kinds: also BigTIFF (+), and TIFFs whose number is turned round.
_STARTS = (
    b"\xff\xd8\xff", b"\x89PNG", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"II\0*", b"MM*\0",
)  # fmt: skip
_MODES_WITH_16_BITS = ("I", "I;16", "I;16B", "I;16L")
_LEAST_RANGE = 8_192  # greys of 65,536 between the darkest and the brightest 0.5 %
_WHITE = 60_000  # a slice that is all white may be
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # of TIFF 6.0
_JPEG_FRAME = re.compile(rb"\xff[\xc0-\xc3\xc9]..(.)", re.DOTALL)  # and the bits of its samples
_WITHOUT_A_SCALE = ("I", "F")  # of a TIFF: signed, 32-bit or fractions, often Hounsfield units


def is_picture(start: bytes) -> bool:
    """Tell by its first four bytes whether a file is a JPEG, PNG or TIFF."""
    return start.startswith(_STARTS)


def decode_picture(
    data: bytes, name: str = "the picture", max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """Decode a JPEG, PNG or TIFF to one grey slice.

    Args:
        data: the whole file.
        name: how errors call it.
        max_pixels: the most pixels to decode; checked before any pixel is decoded.

    Returns:
        uint8 array (height, width), 0 to 255. Colours become luma (ITU-R 601; of a JPEG that stores
        luma, as it is stored), 16-bit greys are divided by 257, what is transparent is black, and
        the EXIF orientation is applied.

    Raises:
        ImageTypeError: neither JPEG nor PNG nor TIFF, a TIFF with several pages, or with numbers
            that have no scale of grey, or 16 bits of which a sliver is used.
        ImageSizeError: more than `max_pixels`, or a side below 32 pixels.
        ImageError: empty, truncated or broken.
    """
    if not data:
        raise ImageError(
            f"{name} is empty (0 bytes).", "Send a JPEG, PNG or TIFF file with content."
        )
    try:
        check_claims(data)
    except (ValueError, struct.error) as error:  # the second: of a TIFF that ends in its header
        raise ImageError(
            f"{name} begins like a picture but is not decoded: {error}.",
            "Export the slice again as a plain JPEG, PNG or TIFF file.",
        ) from error
    try:
        with warnings.catch_warnings():
            # Pillow warns at 89 megapixels; the limit below is stricter and raises.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "TIFF"))
    except Image.DecompressionBombError as error:
        raise _too_large(name, "more pixels than Pillow opens", max_pixels) from error
    except Exception as error:  # see below; a damaged header raises as much as damaged pixels
        if (
            data.startswith(b"\xff\xd8")
            and (frame := _JPEG_FRAME.search(data))
            and frame[1] != b"\x08"
        ):
            raise ImageTypeError(
                f"Expected {name} to have 8 bits a colour, but it is a JPEG with {frame[1][0]}.",
                "Send the DICOM file, or save it with 8 bits.",
            ) from error
        raise ImageTypeError(
            f"Expected {name} to be a JPEG or PNG picture, or a TIFF, but its content is none of "
            "them.",
            "Send a JPEG, PNG or TIFF file; a file's name does not matter, its content does.",
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
        if picture.format == "TIFF":
            _check_tiff(picture, name)
        if picture.mode == "RGB":
            picture.draft("L", None)  # a JPEG decodes to its luma, without colours in between
        upright = ImageOps.exif_transpose(picture)
        if upright.mode in _MODES_WITH_16_BITS:
            wide = np.clip(np.asarray(upright, dtype=np.int64), 0, 65535)
            _check_range(wide, name)
            # Pillow turns round the greys of TIFFs that store white as 0, but not those of 16 bits.
            tags = getattr(picture, "tag_v2", {})
            if picture.format == "TIFF" and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
                wide = 65535 - wide
            return (wide // 257).astype(np.uint8)
        if upright.has_transparency_data:
            black = Image.new("RGBA", upright.size, (0, 0, 0, 255))
            upright = Image.alpha_composite(black, upright.convert("RGBA")).convert("RGB")
        return np.array(upright.convert("L"), dtype=np.uint8)
    except ImageError:
        raise
    except Exception as error:
        # Damage surfaces as OSError, SyntaxError, ValueError and EOFError, and in the tags of a
        # TIFF as whatever Pillow's arithmetic with them raises: KeyError, TypeError, struct.error.
        raise ImageError(
            f"{name} begins like a {picture.format} but cannot be decoded: {error}.",
            "Copy or export the file again; it is truncated or damaged.",
        ) from error


def _check_range(wide: NDArray[np.int64], name: str) -> None:
    """Refuse 16 bits that hold 12, or Hounsfield units: the slice would be black, or one grey."""
    low, high = np.percentile(wide, (0.5, 99.5))
    if high - low < _LEAST_RANGE and 255 < high < _WHITE:
        raise ImageTypeError(
            f"Expected {name} to use its 16 bits, from black to white, but nearly all of its greys "
            f"lie between {low:,.0f} and {high:,.0f} of 65,535.",
            "Send the DICOM file, or scale the greys to 8 bits through a window.",
        )


def _check_tiff(picture: Image.Image, name: str) -> None:
    try:
        picture.seek(1)
    except EOFError:
        picture.seek(0)
    else:
        raise ImageTypeError(
            f"Expected {name} to be one slice, but it is a TIFF with several pages.",
            "Save each page as a file of its own.",
        )
    if picture.mode in _WITHOUT_A_SCALE:
        raise ImageTypeError(
            f"Expected {name} to be grey with 8 or 16 bits and no sign, got a TIFF of mode "
            f"{picture.mode}: nothing says which number is white.",
            "Send the DICOM or NIfTI file, or save it with 8 bits.",
        )


def _too_large(name: str, size: str, max_pixels: int) -> ImageSizeError:
    return ImageSizeError(
        f"Expected {name} to have at most {max_pixels:,} pixels, got {size}.",
        "Send the slice at its original resolution (a CT slice is about 512 x 512).",
    )
