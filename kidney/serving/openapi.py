"""The OpenAPI document, made from the routes and their models, and the page that shows it.

flask-openapi3 makes it from pydantic models, which also write the responses: 0.07 ms for a slice
with maps and 13 ms for a hundred, where marshmallow (flask-smorest) takes 0.39 and 78 ms. APIFlask
needs both, and has scripts inside its pages. The assets of Swagger UI come in a package, so that
nothing is loaded from other servers.
"""

from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import flask_openapi3_swagger
from flask import Blueprint, Response, current_app, render_template
from flask_openapi3 import Info, OpenAPI
from pydantic import BaseModel, TypeAdapter, ValidationError

from kidney.serving.problems import NO_FILE, Problem, RequestError
from kidney.serving.schemas import Feedback, ProblemDetails, Uploads
from kidney.serving.settings import Settings

VERSION = "1.0.0"  # of the interface
PREFIX = "/api/v1"
_ASSETS = Path(flask_openapi3_swagger.__file__).parent / "templates" / "swagger"
_REQUEST_ID = {
    "X-Request-ID": {
        "description": "As it was sent, or a new one.",
        "schema": {"type": "string"},
    }
}
_RETRY = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
_DESCRIPTIONS = {
    400: "The request is no form with a file, or a parameter is unknown.",
    401: "A key is missing or unknown.",
    403: "The session's form token is missing or old.",
    404: "There is nothing at this address, or no such result.",
    405: "Another method.",
    408: "The request did not arrive in time.",
    413: "More bytes, files, frames or pixels than the server takes.",
    415: "A file of another kind.",
    422: "A file is damaged.",
    429: "Too many requests for this key.",
    500: "The server failed.",
    503: "The server is busy, ran out of the request's time, or has no model.",
}
_KEYS: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def application(import_name: str, settings: Settings) -> OpenAPI:
    """Return an application whose routes document themselves."""
    return OpenAPI(
        import_name,
        info=Info(
            title="Kidney Tumor Identification",
            version=VERSION,
            description="Reads CT slices of kidneys. Research use only; not a diagnosis.",
        ),
        doc_ui=False,  # its pages have scripts in them; the one below has none
        security_schemes=_KEYS if settings.auth else {},
        validation_error_model=ProblemDetails,
        validation_error_status=500,  # documented by each route, so nothing is added to it
        validation_error_callback=_refuse,
    )


def blueprint() -> Blueprint:
    """Return the document and its page."""
    routes = Blueprint(
        "docs", __name__, url_prefix=PREFIX, static_folder=_ASSETS, static_url_path="/docs/assets"
    )

    @routes.get("/openapi.json")
    def document() -> dict[str, Any]:
        app: Any = current_app
        described: dict[str, Any] = app.api_doc
        return described

    @routes.get("/docs")
    def page() -> str:
        return render_template("docs.html")

    return routes


def needs_key(settings: Settings) -> list[dict[str, list[Any]]]:
    """Return the security requirement of a route."""
    return [{name: []} for name in _KEYS] if settings.auth else []


def responses(model: type[BaseModel], *failures: int) -> Any:
    """Document the responses of a route: its own, and the problems that may come instead.

    Args:
        model: of status 200.
        failures: other statuses; 405 and 500 need no mention.
    """
    model.model_config["openapi_extra"] = {"headers": _REQUEST_ID}  # type: ignore[typeddict-unknown-key]
    statuses = sorted((405, 500, *failures))
    return {"200": model, **{str(status): _failure(status) for status in statuses}}


def as_json(model: BaseModel) -> Response:
    """Return a model as JSON; members that were not set are left out."""
    # Bytes at once: as a text, a series with its Hounsfield units would be there twice.
    body = _writer(type(model)).dump_json(model, exclude_unset=True)
    return Response(body, content_type="application/json")


@cache
def _writer(model: type[BaseModel]) -> TypeAdapter[BaseModel]:
    return TypeAdapter(model)


def _failure(status: int) -> dict[str, Any]:
    waits = status in (429, 503)
    return {
        "description": _DESCRIPTIONS[status],
        "headers": {**_REQUEST_ID, **(_RETRY if waits else {})},
        "content": {
            "application/problem+json": {
                "schema": {"$ref": f"#/components/schemas/{ProblemDetails.__name__}"}
            }
        },
    }


def _refuse(error: ValidationError) -> NoReturn:
    """Raise the problem of a parameter or form that is not as documented; quote nothing of it."""
    if error.title == Uploads.__name__:
        raise RequestError(NO_FILE)
    if error.title == Feedback.__name__:
        raise RequestError(_UNREADABLE_FEEDBACK)
    first = error.errors()[0]
    known = first["type"] != "extra_forbidden"
    name = str(first["loc"][0])
    raise RequestError(
        Problem(
            400,
            "Unknown parameter",
            f"Expected the parameter {name} to be {first['ctx']['expected']} or absent, but got "
            "something else."
            if known
            else "Expected the documented parameters only, but got another one.",
            f"{PREFIX}/docs has all parameters.",
            "urn:kidney:problem:parameter",
        )
    )


_UNREADABLE_FEEDBACK = Problem(
    400,
    "Feedback that cannot be read",
    "Expected JSON with result, verdict (agree or disagree) and, if need be, series, label and "
    "slices, but got something else.",
    f"{PREFIX}/docs describes the members.",
    "urn:kidney:problem:feedback",
)
