"""How often one key may ask; where keys are off, how often one address may.

Counted in the memory of each process: a server of several workers allows up to that many times as
much. Ours and not the library `limits`, whose memory storage starts a thread for nearly every hit:
that costs 20 times as much as all of this.
"""

import math
import threading
import time

from flask import Flask, g, request

from kidney.serving.problems import Problem, RequestError
from kidney.serving.settings import Settings

_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_UNLIMITED = frozenset({"/healthz", "/readyz", "/metrics"})
_FEEDBACK = "60/minute"  # of one key
_MOST_CLIENTS = 10_000


class RateLimiter:
    """A bucket of tokens for each client; a request takes one, and a period refills it.

    A bucket is kept as the time at which it is full again: the generic cell rate algorithm (ITU-T
    I.371, annex A).

    Args:
        rate: tokens in a bucket and the period in which it fills, such as 600/minute.
    """

    def __init__(self, rate: str) -> None:
        amount, _, period = rate.partition("/")
        self.amount = int(amount)
        self.seconds = _SECONDS[period]
        self._each = self.seconds / self.amount
        self._full_at: dict[str, float] = {}
        self._lock = threading.Lock()

    def acquire(self, client: str, now: float) -> float:
        """Take a token; return 0, or, if there is none, the seconds until there is one.

        Args:
            client: whose bucket.
            now: seconds of a clock that never goes back.
        """
        with self._lock:
            full_at = max(self._full_at.get(client, now), now) + self._each
            too_early = full_at - now - self.seconds
            if too_early > 1e-9 * self.seconds:  # sums of fractions are not exact
                return too_early
            self._full_at[client] = full_at
            if len(self._full_at) > _MOST_CLIENTS:  # a full bucket is as good as none
                self._full_at = {one: at for one, at in self._full_at.items() if at > now}
            return 0


def register(app: Flask, settings: Settings) -> None:
    """Let `app` refuse, with 429, clients that ask too often; after the guard of keys."""
    limiter = RateLimiter(settings.rate_limit) if settings.rate_limit else None
    feedback = RateLimiter(_FEEDBACK)

    @app.before_request
    def limit() -> None:
        signs_in = request.method == "POST" and request.path == "/login"  # see `session`
        is_free = signs_in or request.endpoint == "static" or request.path in _UNLIMITED
        client = g.key_name or request.remote_addr or ""
        if request.method == "POST" and request.path == "/api/v1/feedback":
            check_rate(feedback, client)
        elif limiter and not is_free:
            check_rate(limiter, client)


def check_rate(limiter: RateLimiter, client: str) -> None:
    """Take a token of a client.

    Raises:
        RequestError: there is none (429).
    """
    if wait := limiter.acquire(client, time.monotonic()):
        raise RequestError(
            Problem(
                429,
                "Too many requests",
                f"Expected at most {limiter.amount} requests in {limiter.seconds} seconds, but got "
                "more.",
                "Send it again after the seconds that the Retry-After header names; several slices "
                "fit into one request.",
                "urn:kidney:problem:rate",
                retry_after=math.ceil(wait),
            )
        )
