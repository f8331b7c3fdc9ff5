"""Send damaged uploads to the server, in process: python -m tests.helpers.fuzz --cases 20000."""

import argparse
import ctypes
import gc
import logging
import math
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from zipfile import ZipFile

import pydicom
from flask import Flask
from pydicom.uid import JPEGLosslessSV1, JPEGLSLossless, RLELossless

from kidney.imaging.pictures import MAX_PIXELS
from kidney.serving.app import create_app
from kidney.serving.settings import Settings
from tests.helpers.dicom_files import as_bytes, compressed
from tests.helpers.mutations import mutated
from tests.helpers.pictures import blank_png
from tests.helpers.tiny_model import write_tiny_model
from tests.helpers.upload_files import packed, seeds

SHARED = Path(__file__).parents[3] / "shared" / "data"
SECONDS = 2.0  # of a processor, the most for one request
GROWTH = 1.1  # of the resident memory, from the warm-up to the end
WARM_UP = 0.2  # of the cases: caches and pools have filled by then
SYNTAXES = (RLELossless, JPEGLSLossless, JPEGLosslessSV1)
LARGEST = blank_png(math.isqrt(MAX_PIXELS))
QUERIES = ("", "?overlay=png", "?evidence=maps&pixels=png")


@dataclass
class Outcome:
    """What came of it.

    Attributes:
        statuses: status -> how many requests got it.
        slowest: seconds of a processor; the machine may be busy.
        warm: resident MB after the warm-up.
        end: resident MB at the end.
        faults: seed of each case that failed, and how.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    slowest: float = 0.0
    warm: float = 0.0
    end: float = 0.0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = ", ".join(f"{count} x {status}" for status, count in sorted(self.statuses.items()))
        return (
            f"{self.statuses.total():,} uploads: {counts}; slowest {self.slowest:.2f} s; resident "
            f"{self.warm:.0f} MB after a fifth, {self.end:.0f} MB at the end; "
            f"{len(self.faults)} faults"
        )


def fuzz(app: Flask, files: Mapping[str, Sequence[bytes]], cases: Iterator[int]) -> Outcome:
    """Send one request a case; a case is the seed of its random numbers."""
    numbers = list(cases)
    outcome, client = Outcome(), app.test_client()
    # The runtime keeps what the largest picture so far took.
    client.post("/api/v1/predictions", data={"file": (BytesIO(LARGEST), "0")})
    for done, case in enumerate(numbers):
        if done == int(len(numbers) * WARM_UP):
            outcome.warm = resident()
        random = Random(case)
        parts = [
            (BytesIO(mutated(files, random)), f"secret-{number}")
            for number in range(random.choice((1, 1, 1, 2, 3)))
        ]
        started = time.process_time()
        answer = client.post("/api/v1/predictions" + random.choice(QUERIES), data={"file": parts})
        took = time.process_time() - started
        outcome.slowest = max(outcome.slowest, took)
        outcome.statuses[answer.status_code] += 1
        good = answer.status_code < 500 and took <= SECONDS and b"secret" not in answer.data
        if not good:
            outcome.faults.append(f"case {case}: {answer.status_code} in {took:.2f} s")
        if sys.stderr.isatty() or done % 1000 == 999:
            print(f"\r{done + 1:,} of {len(numbers):,}", end="", file=sys.stderr, flush=True)
    outcome.end = resident()
    if outcome.end > outcome.warm * GROWTH:
        outcome.faults.append(f"memory grew from {outcome.warm:.0f} to {outcome.end:.0f} MB")
    return outcome


def resident() -> float:
    """Return the resident memory of this process in MB, without what is free already.

    The allocator keeps freed memory, more of it the larger the largest file so far was; that says
    nothing of a leak.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def real_seeds() -> dict[str, tuple[bytes, ...]]:
    """Return the made files and, where they are at hand, real ones."""
    made = seeds()
    if not SHARED.is_dir():
        return made
    with ZipFile(SHARED / "ct-kidney-mini.zip") as archive:
        names = [name for name in archive.namelist() if name.lower().endswith((".jpg", ".jpeg"))]
        jpeg = tuple(archive.read(name) for name in names[::40])
    with ZipFile(SHARED / "ct-dicom-series.zip") as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        stored = [archive.read(name) for name in names[:2]]
    dataset = pydicom.dcmread(BytesIO(stored[0]))
    dataset.decompress()
    plain = as_bytes(dataset)
    dicom = (*stored, plain, *(compressed(plain, syntax) for syntax in SYNTAXES))
    return {
        "jpeg": made["jpeg"] + jpeg,
        "png": made["png"],
        "dicom": made["dicom"] + dicom,
        "zip": (*made["zip"], packed(*stored)),
    }


def main() -> int:
    """Read the arguments and fuzz; return 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first case")
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    with TemporaryDirectory() as folder:
        model = write_tiny_model(Path(folder) / "kidney.onnx")
        app = create_app(Settings(model=model, threads=1, auth=False, rate_limit=""))
        cases = iter(range(arguments.first, arguments.first + arguments.cases))
        outcome = fuzz(app, real_seeds(), cases)
    print(f"\n{outcome}", *outcome.faults, sep="\n")
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main())
