"""The log: one JSON object a line, with nothing of what was uploaded.

A line for each request has its route, key, time and outcome. File names, DICOM values, pixels,
addresses, paths and query strings are not logged. Messages of other libraries and of exceptions may
quote them: of these only the location is logged.
"""

import datetime
import json
import logging
import logging.config
import re
import threading
import time
import traceback
from types import TracebackType
from typing import Any

from flask import Flask, Response, g, has_request_context, request

from kidney.errors import ArtifactError, ConfigError, DataError

_log = logging.getLogger("kidney.serving.request")
_OWN_ERRORS = (ConfigError, ArtifactError, DataError)  # on settings and the model
# gunicorn on its processes and its socket; its other messages may quote a request.
_SAFE_MESSAGES = re.compile(r"worker|connection in use|can't connect|retrying|shutting down", re.I)
_BEFORE_A_VALUE = re.compile(r"[%:{(=\[]")
_WITHHELD = "(withheld: it may quote a request)"
_MOST_FRAMES = 30

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "kidney.serving.monitoring.logs.JsonLines"}},
    "handlers": {"lines": {"class": "logging.StreamHandler", "formatter": "json"}},  # on stderr
    "root": {"level": "WARNING", "handlers": ["lines"]},
    "loggers": {
        "kidney": {"level": "INFO"},
        "gunicorn.error": {"level": "WARNING", "handlers": [], "propagate": True},
        "gunicorn.access": {"level": "CRITICAL", "handlers": [], "propagate": False},
    },
}


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time (UTC), level, logger, message, request_id and more."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a record's `fields`, a dictionary, become members of it."""
        at = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "time": at.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        if has_request_context() and "request_id" in g:
            line["request_id"] = g.request_id
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = describe(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False, default=str)


def configure() -> None:
    """Log everything as JSON: records, warnings and exceptions in threads."""
    logging.config.dictConfig(LOGGING)
    logging.captureWarnings(True)
    threading.excepthook = _thread_failed


def register(app: Flask) -> None:
    """Let `app` log each request; registered first, so that it sees the response as it is sent."""
    # Flask puts the path of a failed request into its message.
    app.logger.addFilter(_without_path)

    @app.before_request
    def begin() -> None:
        g.started = time.perf_counter()

    @app.after_request
    def finish(response: Response) -> Response:
        _log.info(
            "request",
            extra={
                "fields": {
                    "method": request.method if request.method in METHODS else "other",
                    # Not the path: it is the client's text and may hold a name.
                    "route": route(),
                    "status": response.status_code,
                    "ms": round((time.perf_counter() - g.started) * 1000, 1),
                    "key": g.get("key_name", ""),
                    **g.get("predicted", {}),
                }
            },
        )
        return response


METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


def route() -> str:
    """Return the route of the current request as the code writes it."""
    return request.url_rule.rule if request.url_rule else "(unknown path)"


def describe(error: BaseException) -> dict[str, Any]:
    """Return what failed and where; the message only of errors that the server wrote.

    Returns:
        type, trace (outermost call first) and, where there are any, message and cause.
    """
    found: dict[str, Any] = {
        "type": type(error).__qualname__,
        "trace": _frames(error.__traceback__),
    }
    if isinstance(error, _OWN_ERRORS):
        found["message"] = str(error)
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and cause is not error:
        found["cause"] = describe(cause)
    return found


def _frames(trace: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(trace)[-_MOST_FRAMES:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


def _message(record: logging.LogRecord) -> str:
    library = record.name.partition(".")[0]
    if library == "kidney":
        return record.getMessage()
    if library == "gunicorn":
        if _SAFE_MESSAGES.match(str(record.msg)):
            return record.getMessage()
        return _BEFORE_A_VALUE.split(str(record.msg), maxsplit=1)[0].strip() or _WITHHELD
    return f"{record.filename}:{record.lineno} {_WITHHELD}"


def _without_path(record: logging.LogRecord) -> bool:
    if record.exc_info:
        record.msg, record.args = "The server failed to answer a request.", ()
    return True


def _thread_failed(args: threading.ExceptHookArgs) -> None:
    error = args.exc_value
    if error is not None:
        logging.getLogger("kidney.serving").error(
            "A thread failed.", exc_info=(type(error), error, args.exc_traceback)
        )
