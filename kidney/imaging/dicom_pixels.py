"""Stored pixels of a DICOM file: the decoder of each transfer syntax, and its limits.

The server decodes uploads in processes of limits (`decoding`), where a decoder that crashes, hangs
or fills the memory costs one request; here it should do none of these. Pillow reads JPEG and
JPEG 2000: the server depends on it already, and in thousands of damaged files it neither crashed
nor stayed longer than a valid one. pydicom reads RLE in Python. imagecodecs reads JPEG Lossless
with libjpeg-turbo and JPEG-LS with CharLS: 60,000 damaged codes of each that passed the checks
below did not crash it, and none took longer than 40 ms or more than 5 MB. Without its end marker a
code of 1 kB takes CharLS 4 s, so the checks have to come first. Not chosen: GDCM crashed on one
damaged code in 150 (JPEG Lossless) and in 100 (JPEG-LS), dicomsdl on one in 55 and imagecodecs'
ljpeg on one in 135 (JPEG Lossless), at the same checks; imagecodecs' jpegsof3 returned memory that
it had not written; pylibjpeg-openjpeg took 2.7 GB for a damaged file of 13 kB; pylibjpeg-libjpeg
is under the GPL.
What a codestream says of its size is compared with the header before anything is decoded.
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from kidney.errors import ImageError, ImageTypeError
from kidney.imaging.claims import MOST_SEGMENTS, check_jpeg_2000
from kidney.imaging.dicom_header import DicomHeader

_LOSSLESS_JPEG = (JPEGLossless, JPEGLosslessSV1)
_JPEG_LS = (JPEGLSLossless, JPEGLSNearLossless)
_LOSSY_JPEG = (JPEGBaseline8Bit, JPEGExtended12Bit)
_JPEG_2000 = (JPEG2000Lossless, JPEG2000)
# One named decoder each, imagecodecs for the lossless ones above: what else happens to be
# installed is never tried on an upload.
_PLUGINS = {
    ImplicitVRLittleEndian: "",
    ExplicitVRLittleEndian: "",
    ExplicitVRBigEndian: "",
    RLELossless: "pydicom",
    **dict.fromkeys(_LOSSY_JPEG + _JPEG_2000, "pillow"),
}
# The markers that begin a frame of the process that the transfer syntax allows.
_FRAMES = {
    **dict.fromkeys(_LOSSY_JPEG, (0xC0, 0xC1)),
    **dict.fromkeys(_LOSSLESS_JPEG, (0xC3,)),
    **dict.fromkeys(_JPEG_LS, (0xF7,)),
}
_ITEM = b"\xfe\xff\x00\xe0"  # begins compressed pixels (PS3.5 A.4)
_SPARE = 65_536  # bytes for the headers of a frame
_SOS, _DRI = 0xDA, 0xDD
_ALONE = (0x01, *range(0xD0, 0xDA))  # markers that no length follows
_ENDS = re.compile(rb"\xff[\xd0-\xd9]")  # of the coded pixels, or of a part of them
_MORE = b"\x5a\xa5" * 32  # as code, steps unlike the zeros that libjpeg makes up


def stored_frames(
    dataset: pydicom.Dataset, header: DicomHeader, name: str
) -> Iterator[NDArray[Any]]:
    """Yield the stored values of each frame, (rows, columns), uint or int of 8 or 16 bits.

    Raises:
        ImageTypeError: a transfer syntax without a decoder.
        ImageError: the number of frames, or the size of one, is not what the header says.
        Exception: whatever a decoder raises for damage.
    """
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    if syntax not in _PLUGINS and syntax not in _LOSSLESS_JPEG + _JPEG_LS:
        known = syntax.name != syntax  # what is not may be any text
        raise _no_decoder(name, f"{syntax.name} ({syntax})" if known else "nothing that is known")
    _check_packing(dataset, syntax, name)
    if syntax.is_encapsulated:
        codes = _codes(dataset, header, name)
        for code in codes:
            _check_code(code, syntax, header, name)
        if syntax not in _PLUGINS:
            for code in codes:
                yield _as_stored(_decoded(code, syntax), dataset)
            return
    decoder = get_decoder(syntax)
    for frame in range(header.frames):  # iter_array cannot correct the signs of what Pillow read
        yield decoder.as_array(
            dataset,
            index=frame,
            raw=True,
            decoding_plugin=_PLUGINS[syntax],
        )[0]


def _check_packing(dataset: pydicom.Dataset, syntax: UID, name: str) -> None:
    """Compare the transfer syntax with how the pixels begin; a wrong one looks like damage."""
    packed = dataset.PixelData[:4] == _ITEM
    if packed != syntax.is_encapsulated and (packed or len(dataset.PixelData) >= 4):
        has, says = ("compressed", "not") if packed else ("not compressed", "compressed")
        raise ImageError(
            f"The pixels of {name} are {has}, but its transfer syntax says that they are {says}.",
            "Export the file again; its TransferSyntaxUID is wrong.",
        )


def _no_decoder(name: str, syntax: str) -> ImageTypeError:
    return ImageTypeError(
        f"{name} is compressed as {syntax}, which is not decoded here.",
        "Save it uncompressed: install DCMTK (apt-get install dcmtk) and run dcmdjpeg or dcmdjpls, "
        "or GDCM and run gdcmconv --raw IN OUT.",
    )


def _codes(dataset: pydicom.Dataset, header: DicomHeader, name: str) -> list[bytes]:
    """Return the compressed frames."""
    table = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    frames = generate_frames(
        dataset.PixelData,
        number_of_frames=header.frames,
        extended_offsets=table if all(table) else None,
    )
    codes = list(islice(frames, header.frames + 1))
    if len(codes) != header.frames:
        more = "more" if len(codes) > header.frames else len(codes)
        raise ImageError(
            f"Expected {name} to hold {header.frames} compressed frames, got {more}.",
            "Copy or export the file again; it is truncated or damaged.",
        )
    return codes


def _check_code(code: bytes, syntax: UID, header: DicomHeader, name: str) -> None:
    """Compare what a codestream says with the header, before a decoder believes it."""
    pixels = header.rows * header.columns
    # No code of a sample is longer than 32 bits; RLE grows by a byte in 128 at worst.
    if len(code) > _SPARE + pixels * (3 if syntax == RLELossless else 8):
        raise ValueError(f"{len(code):,} bytes of code for {pixels:,} pixels")
    if syntax == RLELossless:
        return
    if not code.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise ValueError("its compressed pixels end early")
    if syntax in _JPEG_2000:
        bits, size = 8, check_jpeg_2000(code)
    else:
        bits, size = _size_of_jpeg(code, _FRAMES[syntax])
    if bits > 8 and syntax in _LOSSY_JPEG:
        raise _no_decoder(name, "JPEG Extended with 12 bits")
    if size != (header.rows, header.columns, 1):
        raise ImageError(
            f"Expected the compressed pixels of {name} to be {header.rows} x {header.columns} in "
            f"grey, as its header says, got {size[0]} x {size[1]} in {size[2]} colours.",
            "Copy or export the file again; it is damaged.",
        )


def _size_of_jpeg(code: bytes, frames: tuple[int, ...]) -> tuple[int, tuple[int, int, int]]:
    """Return bits of a sample, and rows, columns and colours of a JPEG or JPEG-LS."""
    for marker, content, _ in _segments(code):
        if marker in frames and len(content) >= 6:
            rows, columns = int.from_bytes(content[1:3]), int.from_bytes(content[3:5])
            return content[0], (rows, columns, content[5])
    raise ValueError("its JPEG is of another process, or has no frame")


def _segments(code: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yield marker, content and end of each segment of a JPEG or JPEG-LS up to its first scan."""
    position, count = 2, 0
    while position + 4 <= len(code):
        marker = code[position + 1]
        if (count := count + 1) > MOST_SEGMENTS:
            raise ValueError("it has more segments than any slice")
        # Decoders step over a marker without a length; read with one, it would hide a frame here.
        if code[position] != 0xFF or marker in _ALONE:
            raise ValueError("its segments are damaged")
        if marker == 0xFF:  # fill
            position += 1
            continue
        end = position + 2 + int.from_bytes(code[position + 2 : position + 4])
        yield marker, code[position + 4 : end], end
        if marker == _SOS or end < position + 4:
            return
        position = end


def _decoded(code: bytes, syntax: UID) -> NDArray[np.uint16]:
    """Decode a JPEG Lossless or JPEG-LS whose size was checked."""
    bits, (rows, columns, _) = _size_of_jpeg(code, _FRAMES[syntax])

    def decoded(code: bytes) -> NDArray[np.uint16]:
        # A place of the right size: a decoder that reads another size raises.
        out = np.zeros((rows, columns), dtype=np.uint8 if bits <= 8 else np.uint16)
        decode = imagecodecs.jpegls_decode if syntax in _JPEG_LS else imagecodecs.jpeg8_decode
        decode(code, out=out)
        return out.astype(np.uint16)

    values = decoded(code)
    if syntax in _LOSSLESS_JPEG:
        # libjpeg warns of pixels that are missing, unheard, and makes some up. Where
        # none are missing, more code behind the last ones changes nothing.
        start, parts = 0, 1
        for marker, content, end in _segments(code):
            start = end
            if marker == _DRI and (interval := int.from_bytes(content[:2])):
                parts = -(-values.size // interval)
        ends = sum(1 for _ in _ENDS.finditer(code, start))
        longer = _ENDS.sub(lambda end: _MORE + end[0], code[start:]) if ends == parts else b""
        if ends != parts or not np.array_equal(values, decoded(code[:start] + longer)):
            raise ValueError("its compressed pixels end early")
    return values


def _as_stored(values: NDArray[np.uint16], dataset: pydicom.Dataset) -> NDArray[Any]:
    """Give unsigned values their sign where the header says that they have one."""
    if not dataset.PixelRepresentation:
        return values
    unused = 16 - int(dataset.BitsStored)
    if not 0 <= unused < 16:
        raise ValueError(f"{dataset.BitsStored} bits stored")
    return (values << unused).view(np.int16) >> unused
