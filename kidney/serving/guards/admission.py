"""Who is let in: so many requests at a time, for so long. Who is not is told so at once."""

import math
import threading
import time

from flask import Flask, g, request

from kidney.serving.problems import Problem, RequestError
from kidney.serving.settings import Settings

COSTLY = frozenset({"/", "/api/v1/predictions"})  # a POST to these decodes and computes
RETRY_SECONDS = 1  # a queue of 32 slices is worked off in about that time
_UPLOADS = 2  # times the largest request: the bytes of all requests that are let in together


class Admission:
    """Counts the requests that are inside of one process.

    Args:
        most: how many there may be at a time.
        most_bytes: how large their bodies may be together.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self.inside = 0
        self.bytes_inside = 0
        self.sent_away = 0

    def enter(self, size: int) -> bool:
        """Let a request with a body of `size` bytes in, if there is room for it."""
        with self._lock:
            room = self.inside < self._most and self.bytes_inside + size <= self._most_bytes
            if room or not self.inside:
                self.inside += 1
                self.bytes_inside += size
                return True
            self.sent_away += 1
            return False

    def leave(self, size: int) -> None:
        """Take back what `enter` has counted."""
        with self._lock:
            self.inside -= 1
            self.bytes_inside -= size


def register(app: Flask, settings: Settings) -> Admission:
    """Let `app` refuse what it has no room for, before a byte of the body is read."""
    admission = Admission(settings.queue, settings.max_upload_bytes * _UPLOADS)

    @app.before_request
    def enter() -> None:
        g.until = time.monotonic() + settings.deadline_seconds
        if request.method != "POST" or request.path not in COSTLY:
            return
        # A body that does not tell its length may be as large as any.
        length = request.content_length
        size = settings.max_upload_bytes if length is None else length
        if size <= settings.max_upload_bytes:  # else it is refused by its size
            if not admission.enter(size):
                raise RequestError(_BUSY)
            g.admitted = size

    @app.teardown_request
    def leave(_: BaseException | None) -> None:
        if (size := g.pop("admitted", None)) is not None:
            admission.leave(size)

    return admission


def until() -> float:
    """Return when the time of the current request is up, by `time.monotonic`."""
    return float(g.get("until", math.inf)) if g else math.inf


def check_time() -> None:
    """See that the time of the current request is not up.

    Raises:
        RequestError: it is (503).
    """
    if time.monotonic() > until():
        raise RequestError(LATE)


_BUSY = Problem(
    503,
    "The server is busy",
    "Expected to have room for this request, but all places are taken by requests that came "
    "before it.",
    "Send it again after the seconds that the Retry-After header names.",
    "urn:kidney:problem:busy",
    retry_after=RETRY_SECONDS,
)
LATE = Problem(
    503,
    "It took too long",
    "Expected to answer this request in the time that a request may take, but other requests or "
    "the number of its slices did not leave enough of it.",
    "Send it again after the seconds that the Retry-After header names; send many slices in "
    "several requests.",
    "urn:kidney:problem:late",
    retry_after=RETRY_SECONDS,
)
