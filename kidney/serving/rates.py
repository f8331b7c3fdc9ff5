"""How often one key may ask; where keys are off, how often one address may.

Counted in the memory of each process: a server of several workers allows up to that many times as
much. The window moves with time, so no burst at the turn of a minute gets twice the limit.
"""

import math
import time

from flask import Flask, g, request
from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from kidney.serving.problems import Problem, RequestError
from kidney.serving.settings import Settings

_UNCOUNTED = frozenset({"/healthz", "/readyz", "/metrics", "/manifest.webmanifest"})
_LOGINS = "10/minute"  # of one address


def register(app: Flask, settings: Settings) -> None:
    """Let `app` refuse, with 429, who asks too often. Stands after what says who it is."""
    limiter = MovingWindowRateLimiter(MemoryStorage())
    usual = parse(settings.rate_limit) if settings.rate_limit else None
    logins = parse(_LOGINS)

    @app.before_request
    def count() -> None:
        if request.method == "POST" and request.path == "/login":
            _hit(limiter, logins, request.remote_addr or "")
        elif usual and request.endpoint != "static" and request.path not in _UNCOUNTED:
            _hit(limiter, usual, g.key_name or request.remote_addr or "")


def _hit(limiter: MovingWindowRateLimiter, limit: RateLimitItem, who: str) -> None:
    if limiter.hit(limit, who):
        return
    wait = limiter.get_window_stats(limit, who).reset_time - time.time()
    raise RequestError(
        Problem(
            429,
            "Too many requests",
            f"Expected at most {limit.amount} requests in {limit.get_expiry()} seconds, but got "
            "more.",
            "Send it again after the seconds that the Retry-After header names; several slices "
            "fit into one request.",
            "urn:kidney:problem:rate",
            retry_after=max(1, math.ceil(wait)),
        )
    )
