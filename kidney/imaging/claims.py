"""What a picture claims of itself, bounded before a decoder believes it.

Decoders allocate by what headers say: a JPEG 2000 of 700 bytes with a precinct for every few pixels
takes OpenJPEG 580 MiB, and a progressive JPEG of 20,000 empty scans keeps libjpeg busy for minutes.
The limits are far above what encoders of CT write. Only markers are read here, no pixels.
"""

import struct
from collections.abc import Iterator
from math import prod

import numpy as np

MOST_SEGMENTS = 2_000  # of a JPEG; a colour profile of 16 MB takes 255
_MOST_SCANS = 100  # of a JPEG; a progressive one has about 10
_MOST_TILES = 1_024  # of a JPEG 2000, each of which costs memory
_MOST_TILE_PARTS = 16 * _MOST_TILES
_MOST_PRECINCTS = 50_000  # of all tiles, resolutions and colours
_MOST_PACKETS = 500_000  # precincts times layers
_MOST_CHUNKS = 50_000  # of a PNG; 100 MB in chunks of 8 kB are 12,000
_MOST_TAGS = 500  # of a TIFF
_MOST_TAG_BYTES = 4_000_000
_TAG_SIZES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)  # bytes, by type
_MOST_HEADER = 65_536  # bytes before the size of a JPEG 2000
_SOS, _SOF_BASELINE = 0xDA, 0xC0
_ALONE = (0x00, 0x01, *range(0xD0, 0xD9), 0xFF)  # markers that no length follows
_NO_FRAMES = (0xC4, 0xC8, 0xCC)  # between the markers of frames, C0 to CF


def check_claims(data: bytes) -> None:
    """Check a JPEG, PNG or TIFF file.

    Raises:
        ValueError: it claims more than any slice has; says of what.
    """
    if data.startswith(b"\xff\xd8"):
        for _ in jpeg_segments(data):
            pass
        _check("scans", _scans(data), _MOST_SCANS)
    elif data.startswith(b"\x89PNG"):
        _check("chunks", sum(1 for _ in _png_chunks(data)), _MOST_CHUNKS)
    elif data.startswith((b"II", b"MM")):
        _check_tiff(data)


def is_plain(data: bytes) -> bool:
    """Tell whether a file is a plain baseline JPEG or an 8-bit PNG, whose decoding is quick."""
    if data.startswith(b"\x89PNG"):
        return data[24:25] <= b"\x08"
    if not data.startswith(b"\xff\xd8"):
        return False
    try:
        frames = [marker for marker in jpeg_segments(data) if marker >> 4 == 0xC]
    except ValueError:
        return False
    frames = [marker for marker in frames if marker not in _NO_FRAMES]
    return frames == [_SOF_BASELINE] and _scans(data) <= 3


def jpeg_segments(data: bytes) -> Iterator[int]:
    """Yield the marker of each segment up to the first scan, as Pillow finds them.

    Raises:
        ValueError: there are too many.
    """
    position, count = 2, 0
    while (position := data.find(b"\xff", position)) >= 0 and position + 1 < len(data):
        marker = data[position + 1]
        if marker in _ALONE:
            position += 1 if marker == 0xFF else 2
        elif marker == _SOS:
            return
        else:
            yield marker
            position += 2 + max(int.from_bytes(data[position + 2 : position + 4]), 2)
        _check("segments", count := count + 1, MOST_SEGMENTS)


def check_jpeg_2000(code: bytes) -> tuple[int, int, int]:
    """Return rows, columns and colours of a codestream (ITU-T T.800 A.5 and A.6).

    Raises:
        ValueError: it has no size, or too many tiles, precincts or layers.
    """
    start = code.find(b"\xff\x4f\xff\x51", 0, _MOST_HEADER)
    size = code[start + 8 : start + 42]
    if start < 0 or len(size) < 34:
        raise ValueError("its JPEG 2000 has no size")
    right, bottom, left, top, width, height = struct.unpack(">6I", size[:24])
    columns, rows, colours = right - left, bottom - top, int.from_bytes(size[32:34])
    if not width or not height:
        raise ValueError("its JPEG 2000 has tiles without pixels")
    tiles = -(-columns // width) * -(-rows // height)
    _check("tiles", tiles, _MOST_TILES)
    shape = min(width, columns), min(height, rows)
    layers = precincts = 1
    for marker, content in _jpeg_2000_segments(code, start + 2):
        if marker == 0x52 and len(content) >= 10:  # COD, of the picture or of one tile
            layers = max(layers, int.from_bytes(content[2:4]))
            precincts = max(precincts, _precincts(content[0] & 1, content[5:], shape))
        elif marker == 0x53 and len(content) >= 7:  # COC, of one colour
            at = 1 if colours < 257 else 2
            precincts = max(precincts, _precincts(content[at] & 1, content[at + 1 :], shape))
    _check("precincts", precincts * tiles * colours, _MOST_PRECINCTS)
    _check("packets", precincts * tiles * colours * layers, _MOST_PACKETS)
    return rows, columns, colours


def _scans(data: bytes) -> int:
    values = np.frombuffer(data, np.uint8)  # five times as fast as data.count
    return int(np.count_nonzero((values[:-1] == 0xFF) & (values[1:] == _SOS)))


def _precincts(are_given: int, style: bytes, shape: tuple[int, int]) -> int:
    """Return the precincts of one colour of a tile, all resolutions together (A.6.1, B.6)."""
    levels, given = style[0], style[5:]
    if levels > 32 or (are_given and len(given) < levels + 1):
        raise ValueError("its JPEG 2000 has damaged precincts")
    total = 0
    for resolution in range(levels + 1):
        both = given[resolution] if are_given else 0xFF
        halvings, powers = levels - resolution, (both & 15, both >> 4)
        # Rounded up; a tile that begins within a precinct reaches into one more.
        total += prod(
            -(-side >> halvings + power) + 1 for side, power in zip(shape, powers, strict=True)
        )
    return total


def _jpeg_2000_segments(code: bytes, position: int) -> Iterator[tuple[int, bytes]]:
    """Yield marker and content of the segments of the main header and of each tile-part."""
    parts, tile_end = 0, 0
    while position + 4 <= len(code) and code[position] == 0xFF:
        marker = code[position + 1]
        if marker == 0x93:  # SOD: coded pixels up to the end of the tile-part
            if tile_end <= position:  # 0: up to the end of the code
                return
            position = tile_end
            continue
        length = int.from_bytes(code[position + 2 : position + 4])
        if marker == 0x90:  # SOT
            _check("parts of tiles", parts := parts + 1, _MOST_TILE_PARTS)
            size = int.from_bytes(code[position + 6 : position + 10])
            tile_end = position + size if size else 0
        yield marker, code[position + 4 : position + 2 + length]
        position += 2 + max(length, 2)


def _png_chunks(data: bytes) -> Iterator[int]:
    position = 8
    while position + 8 <= len(data):
        yield position
        position += 12 + int.from_bytes(data[position : position + 4])


def _check_tiff(data: bytes) -> None:
    order = "<" if data.startswith(b"II") else ">"
    big = 43 in (data[2], data[3])
    at, entries, entry = ("Q", "Q", "HHQ") if big else ("I", "H", "HHI")
    (start,) = struct.unpack_from(order + at, data, 8 if big else 4)
    (count,) = struct.unpack_from(order + entries, data, start)
    _check("tags", count, _MOST_TAGS)
    for number in range(count):
        position = start + struct.calcsize("=" + entries) + number * (20 if big else 12)
        _, kind, values = struct.unpack_from(order + entry, data, position)
        size = _TAG_SIZES[kind] if kind < len(_TAG_SIZES) else 1
        _check("bytes in a tag", values * size, _MOST_TAG_BYTES)


def _check(what: str, count: int, most: int) -> None:
    if count > most:
        raise ValueError(f"it has more {what} than any slice ({most:,})")
