"""Every error as a response: RFC 9457 problem details for programs, the same words for people."""

import http
import json
import socket
import uuid
from dataclasses import dataclass

from flask import Flask, Response, g, make_response, render_template, request
from gunicorn.util import write_nonblock
from werkzeug.exceptions import HTTPException

from kidney.errors import ImageError, ImageSizeError, ImageTypeError, KidneyError
from kidney.serving.settings import Settings

_CONTENT_TYPE = "application/problem+json"
_UNNAMED = "about:blank"  # RFC 9457: no more than the status
_STATUS_BY_ERROR: tuple[tuple[type[ImageError], int, str, str], ...] = (
    (ImageTypeError, 415, "urn:kidney:problem:image-type", "Not a file that is read here"),
    (ImageSizeError, 413, "urn:kidney:problem:image-size", "Too many or too few pixels"),
    (ImageError, 422, "urn:kidney:problem:image-broken", "The file cannot be read"),
)


@dataclass(frozen=True)
class Problem:
    """One error, for people and programs.

    Attributes:
        status: HTTP status code.
        title: the kind of problem, the same for every case of it.
        detail: this case: what was expected and what came.
        remedy: what the sender can do.
        type: URI that names the kind for programs.
        retry_after: seconds until another try makes sense; None: unknown.
    """

    status: int
    title: str
    detail: str
    remedy: str
    type: str = _UNNAMED
    retry_after: int | None = None


class RequestError(KidneyError):
    """A request that cannot be answered, whatever its files hold."""

    def __init__(self, problem: Problem) -> None:
        """Keep the problem for the response."""
        super().__init__(problem.detail, problem.remedy)
        self.details = problem


NO_FILE = Problem(
    400,
    "No file was sent",
    "Expected a multipart form with pictures or DICOM files in the field 'file', but got no file "
    "there.",
    "Choose a file; on a command line: curl -F file=@slice.png.",
    "urn:kidney:problem:no-file",
)


def register(app: Flask, settings: Settings) -> None:
    """Let `app` respond to every error with problem details or, on pages, with an HTML page."""

    @app.errorhandler(RequestError)
    def request_error(error: RequestError) -> Response:
        return _respond(error.details)

    @app.errorhandler(ImageError)
    def image_error(error: ImageError) -> Response:
        return _respond(_from_image_error(error))

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        if error.code is None or error.code < 400:  # a redirect
            return make_response(error.get_response())
        response = _respond(_from_http_error(error.code, error, settings))
        for name, value in error.get_headers():
            if name not in ("Content-Type", "Content-Length"):  # 405 has Allow, for example
                response.headers[name] = value
        return response


def refuse_unread(client: socket.socket, status: int, reason: str, _message: str) -> None:
    """Respond to a request that gunicorn could not parse, instead of `gunicorn.util.write_error`.

    Args:
        client: who sent it; the connection is closed after.
        status: of the answer.
        reason: its phrase.
        _message: quotes the request, and so is not passed on.
    """
    problem = Problem(
        status,
        reason,
        "Expected a request as RFC 9112 describes it, but this one cannot be read."
        if status < 500
        else "The server failed to answer; this is its fault and not the request's.",
        "Send it with a usual HTTP client, and no proxy that changes it.",
    )
    request_id = uuid.uuid4().hex
    body = _document(problem, request_id).encode("ascii")
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: {_CONTENT_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\nX-Content-Type-Options: nosniff\r\n"
        f"X-Request-ID: {request_id}\r\n\r\n"
    )
    write_nonblock(client, head.encode("ascii") + body)


def _from_image_error(error: ImageError) -> Problem:
    status, type_, title = next(row[1:] for row in _STATUS_BY_ERROR if isinstance(error, row[0]))
    detail = error.problem[:1].upper() + error.problem[1:]
    return Problem(status, title, detail, error.remedy, type_)


def _from_http_error(code: int, error: HTTPException, settings: Settings) -> Problem:
    phrase = http.HTTPStatus(code).phrase
    if code == 413:
        return Problem(
            code,
            "The upload is too large",
            f"Expected a request of at most {settings.max_upload_bytes / 1024**2:.3g} MiB with at "
            f"most {settings.max_files} files, but it is larger.",
            "Send fewer or smaller files in one request.",
            "urn:kidney:problem:request-size",
        )
    words = {
        404: (
            "There is nothing at this address.",
            "Upload slices at / or POST them to /api/v1/predictions.",
        ),
        405: (
            f"This address does not take {request.method} requests.",
            "Use a method that the Allow header names.",
        ),
        500: (
            "The server failed to answer; this is its fault and not the picture's.",
            "Try again; if it fails again, report the request id to whoever runs this server.",
        ),
    }
    # werkzeug's descriptions are fixed texts that quote nothing of the request
    detail, remedy = words.get(code, (error.description or phrase, "Correct the request."))
    return Problem(code, phrase, detail, remedy)


def _respond(problem: Problem) -> Response:
    response = _page_or_json(problem)
    if problem.retry_after is not None:
        response.headers["Retry-After"] = str(problem.retry_after)
    return response


def _page_or_json(problem: Problem) -> Response:
    if _for_people():
        return make_response(render_template("error.html", problem=problem), problem.status)
    return Response(
        _document(problem, g.request_id), status=problem.status, content_type=_CONTENT_TYPE
    )


def _document(problem: Problem, request_id: str) -> str:
    return json.dumps(
        {
            "type": problem.type,
            "title": problem.title,
            "status": problem.status,
            "detail": problem.detail,
            "remedy": problem.remedy,
            "instance": f"urn:kidney:request:{request_id}",
            "request_id": request_id,
        }
    )


def _for_people() -> bool:
    """Tell whether to respond with a page: on pages, and where unknown addresses accept HTML."""
    if request.blueprint is not None:
        return request.blueprint in ("pages", "session", "history")
    is_api = request.path.startswith("/api/")
    return not is_api and "text/html" in request.accept_mimetypes.values()
