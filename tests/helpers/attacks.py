"""Files that claim more than they hold: a few kilobytes that would take a decoder gigabytes."""

import io
import struct
import zlib

import numpy as np
import pydicom
from pydicom.uid import JPEG2000, JPEGLossless, RLELossless

from tests.helpers.dicom_files import as_bytes, lossless_jpeg, with_codes
from tests.helpers.pictures import encode, gradient
from tests.helpers.upload_files import series


def _of_size(side: int, frames: int = 1) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(series()[0]))
    dataset.Rows = dataset.Columns = side
    dataset.NumberOfFrames = frames
    dataset.PixelData = bytes(2)
    return as_bytes(dataset)


def precincts(side: int = 1024) -> bytes:
    """A JPEG 2000 with a precinct for every few pixels and no data: 580 MiB for 1024 x 1024."""
    levels = 5
    size = struct.pack(">HIIIIIIIIHBBB", 0, side, side, 0, 0, side, side, 0, 0, 1, 15, 1, 1)
    steps = bytes([0x00, *(0x11 for _ in range(levels))])
    coding = struct.pack(">BBHBBBBBB", 1, 0, 1, 0, levels, 4, 4, 0, 1) + steps
    quantisation = bytes([0x40, *(0x40 for _ in range(3 * levels + 1))])
    segments = b"".join(
        marker + struct.pack(">H", len(content) + 2) + content
        for marker, content in (
            (b"\xff\x51", size),
            (b"\xff\x52", coding),
            (b"\xff\x5c", quantisation),
        )
    )
    tile = b"\xff\x90" + struct.pack(">HHIBB", 10, 0, 14, 0, 1) + b"\xff\x93"
    return with_codes(_of_size(side), JPEG2000, [b"\xff\x4f" + segments + tile + b"\xff\xd9"])


def segments(count: int = 5_000_000) -> bytes:
    """A JPEG of 64 x 48 behind empty APP1 segments, of 4 bytes each."""
    whole = encode(gradient(), "JPEG")
    return whole[:2] + b"\xff\xe1\0\2" * count + whole[2:]


def scans(count: int = 20_000, side: int = 2000) -> bytes:
    """A progressive JPEG with empty scans, each of which passes over every block."""
    whole = encode(np.zeros((side, side), np.uint8), "JPEG", progressive=True)
    return whole[:-2] + bytes.fromhex("ffda0008010100013f00") * count + whole[-2:]


def chunks(count: int = 1_000_000) -> bytes:
    """A PNG of 64 x 48 with empty private chunks, of 12 bytes each."""
    whole = encode(gradient())
    empty = struct.pack(">I4sI", 0, b"prVt", zlib.crc32(b"prVt"))
    return whole[:33] + empty * count + whole[33:]


def tags(count: int = 60_000) -> bytes:
    """A TIFF of 64 x 48 with that many tags."""
    whole = bytearray(encode(gradient(), "TIFF"))
    at = int.from_bytes(whole[4:8], "little")
    old = int.from_bytes(whole[at : at + 2], "little")
    entries = whole[at + 2 : at + 2 + 12 * old]
    private = b"".join(
        struct.pack("<HHII", 40_000 + number % 20_000, 4, 1, number) for number in range(count)
    )
    whole[4:8] = struct.pack("<I", len(whole))
    return bytes(whole) + struct.pack("<H", old + count) + entries + private + bytes(4)


def restarts(count: int = 4_000_000, side: int = 1024) -> bytes:
    """A JPEG Lossless whose pixels are restart markers only."""
    whole = lossless_jpeg(np.zeros((side, side), np.uint16))
    start = whole.index(b"\xff\xda")
    interval = b"\xff\xdd\0\4" + side.to_bytes(2)
    end = start + 2 + int.from_bytes(whole[start + 2 : start + 4])
    head = whole[:start] + interval + whole[start:end]
    marks = b"".join(bytes([0xFF, 0xD0 + number % 8]) for number in range(8)) * (count // 8)
    return with_codes(_of_size(side), JPEGLossless, [head + marks + b"\xff\xd9"])


def run_lengths(side: int = 512, frames: int = 500) -> bytes:
    """An RLE DICOM of black frames: 131 million pixels in 4 MB."""
    run, rest = divmod(side * side, 128)
    assert not rest
    segment = b"\x81\x00" * run
    head = struct.pack("<16I", 2, 64, 64 + len(segment), *([0] * 13))
    code = head + segment * 2
    return with_codes(_of_size(side, frames), RLELossless, [code] * frames)


def longer_runs(side: int = 512) -> bytes:
    """An RLE frame whose runs go on for 60 times its pixels."""
    segment = b"\x81\x00" * (side * side * 3 // 4)
    head = struct.pack("<16I", 2, 64, 64 + len(segment), *([0] * 13))
    return with_codes(_of_size(side), RLELossless, [head + segment * 2])
