"""What each worker does: one chunk of files to its parts of the result."""

import json
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

from kidney.artifact.predictor import Predictor
from kidney.errors import ImageError, KidneyError
from kidney.imaging.windows import window_named
from kidney.remote.http import RefusedError
from kidney.remote.object_store import Store, is_s3
from kidney.scoring.decode import decode
from kidney.scoring.results import SLICES, Results
from kidney.scoring.rows import error_row, slice_row
from kidney.scoring.storage import Place

_AHEAD = 8  # files that are read while others are scored: S3 answers late
_MOST_BYTES = 1 << 30  # of a file; what decodes to more slices than are read has less
_OF_THE_FILE = (404, 413)  # all other refusals would be those of the next files too


class Scorer:
    """One model on one core; Ray makes as many as there are cores.

    Args:
        model: bytes of the kidney.onnx.
        window: WIDTH/LEVEL in HU, through which Hounsfield units are shown.
        key: of the pseudonyms.
        out: see `Place`.

    Raises:
        ArtifactError: as for `Predictor`.
    """

    def __init__(self, model: bytes, window: str, key: bytes, out: str) -> None:
        pa.set_cpu_count(1)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "kidney.onnx")
            path.write_bytes(model)
            self._predictor = Predictor(path, threads=1)
        self._window = window_named(window)
        self._key = key
        self._results = Results(Place(out), self._predictor.card, self._predictor.sha256)
        self._store: Store | None = None
        self._readers = ThreadPoolExecutor(_AHEAD)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Score a chunk and write its parts.

        Args:
            row: `chunk`, the JSON text of id and paths.

        Returns:
            `id`; `counts`, the JSON text of how many slices, and files of each kind of bad, there
            are; `began` and `ended`, in seconds since 1970.
        """
        began = time.time()
        chunk, paths = json.loads(row["chunk"])
        slices: list[dict[str, Any]] = []
        bad: list[dict[str, str]] = []
        for path, content in self._read(paths):
            try:
                decoded = decode(_whole(content), self._window, self._key)
            except (ImageError, RefusedError) as error:
                bad.append(error_row(path, error))
                continue
            for frame, slice_ in enumerate(decoded.slices):
                # One at a time: with one thread, what a slice needs stays in the cache.
                (answer,) = self._predictor.predict([slice_])
                slices.append(slice_row(path, decoded, frame, answer, self._predictor.card))
        self._results.write(chunk, slices, bad)
        counts = Counter(row["kind"] for row in bad) + Counter({SLICES: len(slices)})
        return {"id": chunk, "counts": json.dumps(counts), "began": began, "ended": time.time()}

    def _read(self, paths: Sequence[str]) -> Iterator[tuple[str, "Future[bytes]"]]:
        """Yield each path and its bytes to come, in order, with a few being read ahead."""
        ahead: deque[tuple[str, Future[bytes]]] = deque()
        for path in paths:
            ahead.append((path, self._readers.submit(self._bytes, path)))
            if len(ahead) == _AHEAD:
                yield ahead.popleft()
        yield from ahead

    def _bytes(self, path: str) -> bytes:
        if is_s3(path):
            self._store = self._store or Store(path)
            return self._store.read(path, _MOST_BYTES)
        try:
            with Path(path).open("rb") as file:
                data = file.read(_MOST_BYTES + 1)
        except OSError as error:
            raise RefusedError(
                f"The file cannot be read: {error.strerror or error}.",
                "See that it is there and may be read by who scores.",
                404,
            ) from None
        if len(data) > _MOST_BYTES:
            raise RefusedError(
                f"Expected the file to have at most {_MOST_BYTES:,} bytes, but it has more.",
                "Name files that hold slices.",
                413,
            )
        return data


def _whole(content: "Future[bytes]") -> bytes:
    """Return the bytes; what is wrong with the account or the net ends the run and is no bad file.

    Raises:
        RefusedError: this file cannot be read, others may.
        KidneyError: nothing can be read.
    """
    try:
        return content.result()
    except RefusedError as error:
        if error.status in _OF_THE_FILE:
            raise
        raise KidneyError(error.problem, error.remedy) from error
