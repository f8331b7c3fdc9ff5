"""Bounds on the requests in flight of one process: how many, how large together, for how long."""

import math
import threading
import time

from flask import Flask, g, request

from kidney.serving.problems import Problem, RequestError
from kidney.serving.settings import Settings

COSTLY = frozenset({"/", "/api/v1/predictions"})  # a POST to these decodes and computes
RETRY_SECONDS = 1  # a queue of 32 slices is worked off in about that time
_UPLOADS = 2  # times the largest request: the bytes of all admitted requests together


class Admission:
    """Counts the costly requests in flight.

    Args:
        most: how many there may be at a time.
        most_bytes: how large their bodies may be together.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._count = 0
        self._bytes = 0

    def acquire(self, size: int) -> bool:
        """Admit a request with a body of `size` bytes, if there is room; one alone always fits."""
        with self._lock:
            room = self._count < self._most and self._bytes + size <= self._most_bytes
            if admitted := room or not self._count:
                self._count += 1
                self._bytes += size
            return admitted

    def release(self, size: int) -> None:
        """Take back what `acquire` has counted."""
        with self._lock:
            self._count -= 1
            self._bytes -= size


def register(app: Flask, settings: Settings) -> None:
    """Let `app` refuse what it has no room for, before a byte of the body is read."""
    admission = Admission(settings.queue, settings.max_upload_bytes * _UPLOADS)

    @app.before_request
    def admit() -> None:
        g.deadline = time.monotonic() + settings.deadline_seconds
        if request.method != "POST" or request.path not in COSTLY:
            return
        # A body that does not tell its length may be as large as any.
        length = request.content_length
        size = settings.max_upload_bytes if length is None else length
        if size <= settings.max_upload_bytes:  # else it is refused by its size
            if not admission.acquire(size):
                raise RequestError(_BUSY)
            g.admitted = size

    @app.teardown_request
    def release(_: BaseException | None) -> None:
        if (size := g.pop("admitted", None)) is not None:
            admission.release(size)


def deadline() -> float:
    """Return the deadline of the current request by `time.monotonic`; infinity outside of one."""
    return float(g.get("deadline", math.inf)) if g else math.inf


def check_deadline() -> None:
    """Check that the deadline of the current request has not passed.

    Raises:
        RequestError: it has (503).
    """
    if time.monotonic() > deadline():
        raise RequestError(LATE)


_BUSY = Problem(
    503,
    "The server is busy",
    "Expected to have room for this request, but the queue is full of requests that came before "
    "it.",
    "Send it again after the seconds that the Retry-After header names.",
    "urn:kidney:problem:busy",
    retry_after=RETRY_SECONDS,
)
LATE = Problem(
    503,
    "It took too long",
    "Expected to answer this request before its deadline, but other requests or the number of its "
    "slices did not leave enough time.",
    "Send it again after the seconds that the Retry-After header names; send many slices in "
    "several requests.",
    "urn:kidney:problem:late",
    retry_after=RETRY_SECONDS,
)
