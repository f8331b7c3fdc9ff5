"""What each worker does: one chunk of files to its part of the results."""

import json
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from kidney.artifact.predictor import Predictor
from kidney.errors import ImageError, KidneyError
from kidney.imaging.windows import window_named
from kidney.remote.http import RefusedError
from kidney.remote.object_store import is_object, read_object
from kidney.scoring.results import SLICES, Results
from kidney.scoring.rows import decode, error_row, slice_row

_AHEAD = 8  # files that are read while others are scored: object stores are slow to respond
_MAX_BYTES = 1 << 30  # of a file; what decodes to more slices than are read has less
_OF_THE_FILE = (404, 413)  # any other refusal would meet the next files too


@dataclass(frozen=True)
class Job:
    """What all workers do alike."""

    window: str  # WIDTH/LEVEL in HU, through which Hounsfield units are shown
    key: bytes  # of the pseudonyms
    out: str  # where the results are, see `Results`


class Scorer:
    """One model, the bytes of a kidney.onnx, on one core; Ray makes as many as there are cores.

    Raises:
        ArtifactError: as for `Predictor`.
    """

    def __init__(self, model: bytes, job: Job) -> None:
        pa.set_cpu_count(1)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "kidney.onnx")
            path.write_bytes(model)
            self._predictor = Predictor(path, threads=1)
        self._window = window_named(job.window)
        self._key = job.key
        self._results = Results(job.out, self._predictor.card, self._predictor.sha256)
        self._readers = ThreadPoolExecutor(_AHEAD)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Score a chunk and write its part of the results.

        Args:
            row: `chunk`, the JSON text of id and paths.

        Returns:
            `counts`, the JSON text of how many slices, and files of each kind of bad, there are;
            `began` and `ended`, in seconds since 1970.

        Raises:
            KidneyError: the account, network or disk fails, so nothing can be read or written.
        """
        began = time.time()
        chunk, paths = json.loads(row["chunk"])
        slices: list[dict[str, Any]] = []
        bad: list[dict[str, str]] = []
        for path, content in self._read_ahead(paths):
            try:
                decoded = decode(content.result(), self._window, self._key)
            except (ImageError, RefusedError) as error:
                if isinstance(error, RefusedError) and error.status not in _OF_THE_FILE:
                    raise KidneyError(error.problem, error.remedy) from error
                bad.append(error_row(path, error))
                continue
            for frame, slice_ in enumerate(decoded.slices):
                # One at a time: with one thread, what a slice needs stays in the cache.
                (prediction,) = self._predictor.predict([slice_])
                slices.append(slice_row(path, decoded, frame, prediction, self._predictor.card))
        self._results.write_chunk(chunk, slices, bad)
        counts = Counter(row["kind"] for row in bad) + Counter({SLICES: len(slices)})
        return {"counts": json.dumps(counts), "began": began, "ended": time.time()}

    def _read_ahead(self, paths: Sequence[str]) -> Iterator[tuple[str, "Future[bytes]"]]:
        """Yield each path and its bytes to come, in order, with a few being read ahead."""
        ahead: deque[tuple[str, Future[bytes]]] = deque()
        for path in paths:
            ahead.append((path, self._readers.submit(_read, path)))
            if len(ahead) == _AHEAD:
                yield ahead.popleft()
        yield from ahead


def _read(path: str) -> bytes:
    if is_object(path):
        return read_object(path, _MAX_BYTES)
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise RefusedError(
            f"The file cannot be read: {error.strerror or error}.",
            "See that it is there and may be read by this account.",
            404,
        ) from None
    if len(data) > _MAX_BYTES:
        raise RefusedError(
            f"Expected the file to have at most {_MAX_BYTES:,} bytes, but it has more.",
            "Name files that hold slices.",
            413,
        )
    return data
