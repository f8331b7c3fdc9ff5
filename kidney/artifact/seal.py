"""The digest that kidney.onnx carries of itself: one changed byte and the file is refused.

It is the SHA-256 of the whole file in which the 64 digits of the digest itself are zeros. It
notices damage and mixed-up copies. It does not say who wrote the file: whoever changes it on
purpose can seal it again, and only a digest or a signature that came another way tells
(KIDNEY_MODEL_SHA256).
"""

import hashlib
from pathlib import Path

from kidney.errors import ArtifactError

SEAL_KEY = "kidney.sha256"
UNSEALED = {SEAL_KEY: "0" * 64}  # the metadata entry that `seal` fills
# As protobuf writes that entry: key, its length, then the value and its length. The digest is found
# by these bytes and not by reading the file, so that no damage can hide it.
_MARK = bytes((0x0A, len(SEAL_KEY))) + SEAL_KEY.encode() + bytes((0x12, 64))


def seal(path: Path) -> str:
    """Write the digest of an ONNX file into it, in place.

    Args:
        path: a file with the metadata entry UNSEALED, or with a digest of what it was before.

    Returns:
        The digest.

    Raises:
        ArtifactError: the file has no such entry, or more than one.
    """
    data = path.read_bytes()
    position = _position(data)
    digest = _digest(data, position)
    with path.open("r+b") as file:
        file.seek(position)
        file.write(digest.encode())
    return digest


def is_sealed(data: bytes) -> bool:
    """Tell whether an ONNX file carries a digest at all, right or wrong."""
    return _MARK in data


def check_seal(data: bytes) -> str:
    """See that an ONNX file is what was sealed, to the byte.

    Args:
        data: the whole file.

    Returns:
        The digest.

    Raises:
        ArtifactError: it carries no digest, or one of other bytes; the message names both.
    """
    position = _position(data)
    carried, digest = data[position : position + 64], _digest(data, position)
    if carried != digest.encode():
        raise ArtifactError(
            f"Expected a file of SHA-256 {carried.decode(errors='backslashreplace')}, which it "
            f"carries under {SEAL_KEY!r}, but its bytes have {digest}.",
            "Copy the file again or export it again with export.py: it was damaged or changed.",
        )
    return digest


def _position(data: bytes) -> int:
    """Return where the 64 digits begin."""
    count = data.count(_MARK)
    position = data.find(_MARK) + len(_MARK)
    if count != 1 or position + 64 > len(data):
        raise ArtifactError(
            f"Expected a file that carries its own SHA-256 under {SEAL_KEY!r}, but it has "
            f"{count or 'none'}.",
            "Copy the file again or export it again with export.py: it is damaged, foreign or of "
            "an earlier version.",
        )
    return position


def _digest(data: bytes, position: int) -> str:
    view = memoryview(data)
    found = hashlib.sha256(view[:position])
    found.update(b"0" * 64)
    found.update(view[position + 64 :])
    return found.hexdigest()
