"""What surrounds every answer: headers that confine it, a request id and one line in the log."""

import logging
import re
import time
import uuid
from io import BytesIO
from typing import IO

from flask import Flask, Request, Response, g, request

from kidney.serving.settings import Settings

_log = logging.getLogger("kidney.serving")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADERS = {
    # Nothing inline; all comes from here but pictures, which lie in the page or in the browser.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; manifest-src 'self'; worker-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",  # frame-ancestors for old browsers
}
_SPARE_FORM_PARTS = 8  # a few files too many still get the message that counts them


class InMemoryRequest(Request):
    """A request whose uploads stay in memory: a patient's picture never touches a disk."""

    def _get_file_stream(
        self,
        total_content_length: int | None,  # noqa: ARG002
        content_type: str | None,  # noqa: ARG002
        filename: str | None = None,  # noqa: ARG002
        content_length: int | None = None,  # noqa: ARG002
    ) -> IO[bytes]:
        return BytesIO()


def register(app: Flask, settings: Settings) -> None:
    """Give `app` its limits, its headers, its request ids and its log."""
    app.request_class = InMemoryRequest
    app.config["MAX_CONTENT_LENGTH"] = settings.max_upload_bytes
    app.config["MAX_FORM_PARTS"] = settings.max_files + _SPARE_FORM_PARTS

    @app.before_request
    def begin() -> None:
        g.started = time.perf_counter()
        sent = request.headers.get("X-Request-ID", "")
        g.request_id = sent if _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers.update(_HEADERS)
        response.headers["X-Request-ID"] = g.request_id
        if request.endpoint != "static":
            response.headers["Cache-Control"] = "no-store"
        _log.info(
            "%s %s %s %d %.1f ms",
            g.request_id,
            request.method,
            # The route and not the path: an unknown path is the client's text and may hold a name.
            request.url_rule or "(unknown path)",
            response.status_code,
            (time.perf_counter() - g.started) * 1000,
        )
        return response
