"""Ask a running server whether it works: python deploy/smoke.py --url http://127.0.0.1:8000.

Needs Python and nothing else. A line a check; the status is 0 where all passed, else 1.
"""

import argparse
import json
import math
import struct
import sys
import time
import zlib
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

SECONDS = 60.0  # for one answer, and for a server that has just been started to get ready
_STARTING = (502, 503, 504)  # its own answer, or that of a proxy before it
_FORM = (
    b'--smoke\r\nContent-Disposition: form-data; name="file"; filename="grey.png"\r\n'
    b"Content-Type: image/png\r\n\r\n%b\r\n--smoke--\r\n"
)


def main() -> int:
    """Check the server of the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="of the server")
    parser.add_argument("--key-file", type=Path, help="with an API key")
    parser.add_argument("--expect-model", help="SHA-256 of the model that has to answer")
    given = parser.parse_args()
    headers = {"Content-Type": "multipart/form-data; boundary=smoke"}
    try:
        if given.key_file:
            headers["Authorization"] = "Bearer " + given.key_file.read_text("utf-8").strip()
        address = given.url.rstrip("/")
        print(f"ok: ready, with the model {_until_ready(address + '/readyz')['sha256']}")
        answer = _ask(Request(address + "/api/v1/predictions", _FORM % grey_png(), headers))
        shares = answer["predictions"][0]["probabilities"]
        if len(shares) < 2 or not math.isclose(sum(shares.values()), 1, abs_tol=1e-3):
            raise ValueError(f"expected probabilities that add up to 1, but got {shares}")
        print(f"ok: a grey picture got {shares}")
        model = answer["model"]
        if given.expect_model and model["sha256"] != given.expect_model.strip().lower():
            raise ValueError(f"expected the model {given.expect_model}, but got {model['sha256']}")
        print(f"ok: the model {model['sha256']} of run {model['run']} answered")
    except (OSError, HTTPException, ValueError, LookupError, TypeError, AttributeError) as error:
        said = error.read(500).decode("utf-8", "replace") if isinstance(error, HTTPError) else ""
        print(f"FAILED: {given.url}: {error!r} {said}".rstrip(), file=sys.stderr)
        return 1
    return 0


def _until_ready(url: str) -> Any:
    end = time.monotonic() + SECONDS
    while True:
        try:
            return _ask(Request(url))
        except OSError as error:  # nobody listens yet
            final = isinstance(error, HTTPError) and error.code not in _STARTING
            if final or time.monotonic() > end:
                raise
        time.sleep(0.5)


def _ask(request: Request) -> Any:
    with urlopen(request, timeout=SECONDS) as response:
        return json.load(response)


def grey_png(side: int = 64) -> bytes:
    """Return a PNG of one grey, 8 bits a pixel."""
    rows = (b"\0" + bytes([128]) * side) * side
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


if __name__ == "__main__":
    sys.exit(main())
