"""Whole files to damaged ones that are still likely to get past the first checks."""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from random import Random

TELLING = (0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF)
NUMBERS = (0, 1, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutated(seeds: Mapping[str, Sequence[bytes]], random: Random) -> bytes:
    """Return a damaged file of any kind, one in ten whole."""
    kind = random.choice(list(seeds))
    data = random.choice(seeds[kind])
    if random.random() < 0.1:
        return data
    if kind == "zip" and random.random() < 0.5:
        return _repacked(data, seeds, random)
    data = damaged(data, random)
    return _with_sums(data) if kind == "png" and random.random() < 0.7 else data


def damaged(data: bytes, random: Random) -> bytes:
    """Return the bytes with a few changed, moved or cut off; headers suffer most."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        reach = len(changed) if random.random() < 0.4 else min(len(changed), 1500)
        at = random.randrange(max(reach, 1))
        kind = random.random()
        if kind < 0.35:
            changed[at : at + 1] = bytes([random.choice((*TELLING, random.randrange(256)))])
        elif kind < 0.6:
            number = random.choice((*NUMBERS, random.getrandbits(32)))
            size, order = random.choice((2, 4)), random.choice(("<", ">"))
            changed[at : at + size] = struct.pack(order + "I", number)[:size]
        elif kind < 0.7:
            del changed[at : at + random.choice((1, 4, 100))]
        elif kind < 0.8:
            changed[at:at] = changed[at : at + random.choice((1, 8, 200))] * random.choice((1, 50))
        elif kind < 0.9:
            start = random.randrange(max(len(changed), 1))
            changed[at : at + 40] = changed[start : start + 40]
        else:
            changed = changed[: at + 1]
    return bytes(changed)


def _with_sums(png: bytes) -> bytes:
    """Give the chunks of a PNG their checksums again: readers look no further at a wrong one."""
    fixed, at = bytearray(png), 8
    while at + 12 <= len(fixed):
        length = int.from_bytes(fixed[at : at + 4], "big")
        end = at + 8 + length
        if end + 4 > len(fixed):
            break
        fixed[end : end + 4] = struct.pack(">I", zlib.crc32(fixed[at + 4 : end]))
        at = end + 4
    return bytes(fixed)


def _repacked(archive: bytes, seeds: Mapping[str, Sequence[bytes]], random: Random) -> bytes:
    """Pack damaged files, archives among them, in an archive that is whole."""
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        files = [packed.read(info) for info in packed.infolist()]
    at = random.randrange(len(files))
    files[at] = damaged(files[at], random)
    if random.random() < 0.3:
        files.append(random.choice(seeds[random.choice(list(seeds))]))
    if random.random() < 0.1:
        files.append(bytes(random.choice((0, 1, 100_000))))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", random.choice((0, 8))) as packed:
        for number, data in enumerate(files):
            packed.writestr(random.choice(("", "a/", "../", "/")) + str(number), data)
    return buffer.getvalue()
