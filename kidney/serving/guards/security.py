"""Applied to every request: limits, a request id, and security headers."""

import re
import uuid
from io import BytesIO
from typing import IO

from flask import Flask, Request, Response, g, request
from flask_cors import CORS
from werkzeug.middleware.proxy_fix import ProxyFix

from kidney.serving.settings import Settings

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADERS = {
    # Own origin only, nothing inline; pictures of a result are data URLs.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; manifest-src 'self'; worker-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), display-capture=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",  # frame-ancestors for old browsers
}
_HTTPS_ONLY = "max-age=31536000"  # a year
_SPARE_FORM_PARTS = 8  # a few files too many still get the message that counts them


class InMemoryRequest(Request):
    """A request whose uploads stay in memory: patient images never touch a disk."""

    def _get_file_stream(
        self,
        total_content_length: int | None,  # noqa: ARG002
        content_type: str | None,  # noqa: ARG002
        filename: str | None = None,  # noqa: ARG002
        content_length: int | None = None,  # noqa: ARG002
    ) -> IO[bytes]:
        return BytesIO()


def register(app: Flask, settings: Settings) -> None:
    """Give `app` its limits, its request ids and its headers."""
    app.debug = False  # whatever FLASK_DEBUG says
    app.request_class = InMemoryRequest
    app.config["MAX_CONTENT_LENGTH"] = settings.max_upload_bytes
    app.config["MAX_FORM_PARTS"] = settings.max_files + _SPARE_FORM_PARTS
    if settings.proxies:
        count = settings.proxies
        proxied = ProxyFix(app.wsgi_app, x_for=count, x_proto=count, x_host=0, x_prefix=count)
        app.wsgi_app = proxied  # type: ignore[method-assign]
    if settings.cors_origins:
        CORS(
            app,
            resources=r"/api/.*",
            origins=list(settings.cors_origins),
            methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID"],
            expose_headers=["Retry-After", "X-Request-ID"],
            max_age=600,
        )

    @app.before_request
    def assign_id() -> None:
        sent = request.headers.get("X-Request-ID", "")
        g.request_id = sent if _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.headers.update(_HEADERS)
        response.headers["X-Request-ID"] = g.request_id
        if request.is_secure:
            response.headers["Strict-Transport-Security"] = _HTTPS_ONLY
        if request.endpoint != "static":
            response.headers["Cache-Control"] = "no-store"
        return response
