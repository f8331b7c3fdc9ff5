"""Pictures made for the tests, as the bytes of a file."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def gradient(height: int = 48, width: int = 64) -> np.ndarray:
    """Grey (height, width): dark on the left, bright on the right, a little brighter downwards."""
    across = np.linspace(0, 200, width)[None, :]
    down = np.linspace(0, 50, height)[:, None]
    return (across + down).astype(np.uint8)


def encode(picture: np.ndarray | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


def blank_png(side: int) -> bytes:
    """A valid black 1-bit PNG of side x side pixels, which deflates to almost nothing."""
    row = bytes(1 + (side + 7) // 8)
    packer = zlib.compressobj()
    body = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
