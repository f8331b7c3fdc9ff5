"""Bounds on the requests in flight of one process: how many, how many bytes, for how long.

Bytes are counted as they come: those of bodies as they are read, those of slices as they are
decoded. A client that announces much and stops takes no room from others.
"""

import io
import math
import threading
import time
from collections import Counter
from typing import Any

from flask import Flask, g, request

from kidney.serving.guards.keys import Key
from kidney.serving.problems import Problem, RequestError
from kidney.serving.settings import Settings

COSTLY = frozenset({"/", "/api/v1/predictions"})  # a POST to these decodes and computes
RETRY_SECONDS = 1  # a queue of 32 slices is worked off in about that time
_UPLOADS = 2  # times the largest request: the bytes of all bodies together
_DECODED = 3  # bytes a pixel of the largest request: of all slices and inflated files together


class Budget:
    """An amount that requests share.

    Args:
        most: of all of them together.
        share: of one client; what is left of `most` is for others.
    """

    def __init__(self, most: int, share: int) -> None:
        self.most = most
        self.share = share
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()

    def acquire(self, client: str, amount: int, own: int = 0) -> bool:
        """Take an amount, if there is room; a request that is alone always has it.

        Args:
            client: whose share.
            amount: 0 or less always fits.
            own: what this request holds already.
        """
        with self._lock:
            total = self._held.total()
            room = total + amount <= self.most and self._held[client] + amount <= self.share
            if fits := amount <= 0 or room or total == own:
                self._held[client] += amount
                if not self._held[client]:
                    del self._held[client]
            return fits


class _Held:
    """What one request holds; `client` is its key, or its address where keys are off."""

    def __init__(self, client: str, bodies: Budget, decoded: Budget) -> None:
        self.client = client
        self._budgets = {"body": bodies, "slices": decoded, "member": decoded}
        self._amounts = dict.fromkeys(self._budgets, 0)

    def set(self, part: str, amount: int) -> None:
        budget = self._budgets[part]
        own = sum(self._amounts[one] for one in self._budgets if self._budgets[one] is budget)
        if not budget.acquire(self.client, amount - self._amounts[part], own):
            raise RequestError(_BUSY)
        self._amounts[part] = amount

    def add(self, part: str, amount: int) -> None:
        self.set(part, self._amounts[part] + amount)


class _Counted(io.RawIOBase):
    """The body of a request, whose bytes count from when they are read."""

    def __init__(self, body: Any, held: _Held) -> None:
        self._body = body
        self._held = held

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size: int = self._body.readinto(buffer)
        self._held.add("body", size)
        return size


def register(app: Flask, settings: Settings, keys: tuple[Key, ...]) -> None:
    """Let `app` refuse what it has no room for.

    Of several keys each has half of the queue and of the bytes of bodies.
    """
    parts = 2 if len(keys) > 1 else 1
    bodies = settings.max_upload_bytes * _UPLOADS
    decoded = settings.max_request_pixels * _DECODED
    budgets = Budget(bodies, bodies // parts), Budget(decoded, decoded)
    queue = Budget(settings.queue, -(-settings.queue // parts))

    @app.before_request
    def admit() -> None:
        g.deadline = time.monotonic() + settings.deadline_seconds
        if request.method != "POST" or request.path not in COSTLY:
            return
        if (request.content_length or 0) > settings.max_upload_bytes:  # refused by its size
            return
        held = _Held(g.key_name or request.remote_addr or "", *budgets)
        if not queue.acquire(held.client, 1):
            raise RequestError(_BUSY)
        g.held = held
        # Whatever it announces: what is refused now need not be sent.
        held.set("body", request.content_length or 0)
        held.set("body", 0)
        request.environ["wsgi.input"] = _Counted(request.environ["wsgi.input"], held)

    @app.teardown_request
    def release(_: BaseException | None) -> None:
        held: _Held | None = g.pop("held", None)
        if held is not None:
            queue.acquire(held.client, -1)
            for part in ("body", "slices", "member"):
                held.set(part, 0)


def hold(size: int) -> None:
    """Count so many bytes of decoded slices until the current request ends.

    Raises:
        RequestError: the requests in flight leave no room for them (503).
    """
    if g and "held" in g:
        g.held.add("slices", size)


def hold_member(size: int) -> None:
    """Count the bytes of the file that is inflated now, in place of the one before.

    Raises:
        RequestError: as for `hold`.
    """
    if g and "held" in g:
        g.held.set("member", size)


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
