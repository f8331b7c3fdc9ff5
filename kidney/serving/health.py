"""For orchestrators: whether the process is up, and whether it can predict."""

import logging

import numpy as np
from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from kidney.serving.documents import answers, as_json
from kidney.serving.engine import Engine
from kidney.serving.problems import Problem, RequestError
from kidney.serving.schemas import Status

_TAG = Tag(name="Health", description="For orchestrators.")
_log = logging.getLogger("kidney.serving")


def blueprint(engine: Engine) -> APIBlueprint:
    """Return /healthz and /readyz; the one warm-up prediction happens here, before any request."""
    routes = APIBlueprint("health", __name__, abp_tags=[_TAG])
    ready = _warm_up(engine)

    @routes.get("/healthz", operation_id="healthz", responses=answers(Status))
    def healthz() -> Response:
        """Say that the process is up."""
        return as_json(Status(status="up"))

    @routes.get("/readyz", operation_id="readyz", responses=answers(Status, 503))
    def readyz() -> Response:
        """Say that the model answers."""
        if not ready:
            raise RequestError(
                Problem(
                    503,
                    "Not ready",
                    "The model was loaded, but it failed its first prediction.",
                    "Read the server's log; export the model again or serve another one.",
                    "urn:kidney:problem:not-ready",
                )
            )
        return as_json(Status(status="ready"))

    return routes


def _warm_up(engine: Engine) -> bool:
    """Predict one black slice; the first run of a graph allocates and is slow."""
    try:
        engine.read([np.zeros((512, 512), dtype=np.uint8)])
    except Exception:  # whatever it was, the process has to live on to say so at /readyz
        _log.exception("The model failed its first prediction.")
        return False
    return True
