"""Is a kidney.onnx whole, and harmless to open? Read from its bytes before a runtime sees them.

Whole: the file carries its own SHA-256, computed with the 64 digits of the digest as zeros. It
notices damage and mixed-up copies. It does not prove who wrote the file: anyone who changes
it on purpose can seal it again. Only a digest or a signature from another source proves that
(KIDNEY_MODEL_SHA256, KIDNEY_PUBLIC_KEY).

Harmless: standard operators only, and no weights in other files. An ONNX file is a protobuf
message. Its wire format is a sequence of fields, each a number, a type and a value
(https://protobuf.dev/programming-guides/encoding); the numbers used here are those of
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. Weights are skipped by their length, so the
time does not grow with them. Where two readings are possible the stricter one is taken.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from kidney.errors import ArtifactError

SEAL_KEY = "kidney.sha256"
UNSEALED = {SEAL_KEY: "0" * 64}  # the metadata entry that `seal` fills
# As protobuf writes that entry: key, its length, then the value and its length. The digest is found
# by these bytes and not by reading the file, so that no damage can hide it.
_MARK = bytes((0x0A, len(SEAL_KEY))) + SEAL_KEY.encode() + bytes((0x12, 64))

_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _TENSOR = "model", "graph", "node", "attribute", "tensor"
_SPARSE, _TRAINING, _FUNCTION = "sparse tensor", "training", "function"
# Message -> number of a field -> the message in it: every way on which nodes and tensors are found.
_MESSAGES = {
    _MODEL: {7: _GRAPH, 20: _TRAINING, 25: _FUNCTION},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _TENSOR: {},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _TRAINING: {1: _GRAPH, 2: _GRAPH},
    _FUNCTION: {7: _NODE, 11: _ATTRIBUTE},
}
_METADATA, _KEY, _VALUE = 14, 1, 2  # of a model; of an entry
_DOMAIN = 7  # of a node
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of a tensor
_STANDARD = (b"", b"ai.onnx")  # what onnxruntime's own quantiser writes is standard too

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_FIELDS = 1_000_000  # a second at most; EfficientNet-Lite0 in int8 has 10,000
_MOST_DEPTH = 100  # protobuf's own limit

_REMEDY = "Copy the file again or export it again with export.py; it is damaged or foreign."

# number, wire type, and where the value lies: from start to end. Of a varint, end is the value.
_Field = tuple[int, int, int, int]


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
    """Check that an ONNX file is what was sealed, to the byte.

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


def metadata(data: bytes) -> dict[str, str]:
    """Return the metadata entries of an ONNX model.

    Args:
        data: the whole file.

    Raises:
        ArtifactError: these are not the bytes of an ONNX model.
    """
    entries = {}
    budget = [_MOST_FIELDS]
    found = False
    for number, kind, start, end in _fields(data, 0, len(data), budget):
        found = found or (number in _MESSAGES[_MODEL] and kind == _BYTES)
        if number == _METADATA and kind == _BYTES:
            texts = {_KEY: b"", _VALUE: b""}
            for part, part_kind, from_, to in _fields(data, start, end, budget):
                if part_kind == _BYTES:
                    texts[part] = data[from_:to]
            entries[texts[_KEY].decode(errors="replace")] = texts[_VALUE].decode(errors="replace")
    if not found:
        raise ArtifactError("Expected an ONNX model, but the file holds no graph.", _REMEDY)
    return entries


def check_self_contained(data: bytes) -> None:
    """Check that a model uses standard operators only, and no other file.

    Subgraphs, functions and the tensors of attributes are checked too.

    Args:
        data: the whole file.

    Raises:
        ArtifactError: an operator of another domain, a tensor whose values lie in another file, or
            these are not the bytes of an ONNX model.
    """
    budget = [_MOST_FIELDS]
    waiting = [(_MODEL, 0, len(data), 0)]
    while waiting:
        message, from_, to, depth = waiting.pop()
        if depth > _MOST_DEPTH:
            raise _malformed(from_)
        messages = _MESSAGES[message]
        for number, kind, start, end in _fields(data, from_, to, budget):
            if kind == _BYTES and number in messages:
                waiting.append((messages[number], start, end, depth + 1))
            elif message is _NODE and number == _DOMAIN and kind == _BYTES:
                if data[start:end] not in _STANDARD:
                    raise _custom(data[start:end])
            elif message is _TENSOR and (
                (number == _EXTERNAL_DATA and kind == _BYTES)
                or (number == _DATA_LOCATION and kind == _VARINT and end != 0)
            ):
                raise ArtifactError(
                    "Expected a model with all its weights inside, but a tensor points to another "
                    "file (external data).",
                    "Nothing was opened. Use a kidney.onnx that export.py wrote.",
                )


def _custom(domain: bytes) -> ArtifactError:
    return ArtifactError(
        "Expected standard ONNX operators only, but the model uses one of the domain "
        f"{domain[:100].decode(errors='replace')!r}.",
        "Nothing was opened. Use a kidney.onnx that export.py wrote; other operators could run "
        "any code.",
    )


def _malformed(position: int) -> ArtifactError:
    return ArtifactError(
        f"Expected an ONNX model, but it cannot be read at byte {position:,}.", _REMEDY
    )


def _fields(data: bytes, position: int, end: int, budget: list[int]) -> Iterator[_Field]:
    """Yield the fields of the message that fills `data` from `position` to `end`."""
    while position < end:
        budget[0] -= 1
        if budget[0] < 0:
            raise ArtifactError(
                f"Expected an ONNX model with at most {_MOST_FIELDS:,} fields, but it has more.",
                _REMEDY,
            )
        begin = position
        tag, position = _varint(data, position, end)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise _malformed(begin)
        if kind == _VARINT:
            value, after = _varint(data, position, end)
            yield number, kind, position, value
        elif kind == _BYTES:
            length, position = _varint(data, position, end)
            after = position + length
        elif kind in (_FIXED64, _FIXED32):
            after = position + (8 if kind == _FIXED64 else 4)
        else:  # groups, which ONNX has none of
            raise _malformed(begin)
        if after > end:
            raise _malformed(begin)
        if kind != _VARINT:
            yield number, kind, position, after
        position = after


def _varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Return the number at `position`, 7 bits a byte, the lowest first, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _malformed(position)
