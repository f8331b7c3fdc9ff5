"""For orchestrators: whether the process is up, and whether it can predict."""

import logging

import numpy as np
from flask import Blueprint, Response, jsonify

from kidney.serving.engine import Engine
from kidney.serving.problems import Problem, RequestError

_log = logging.getLogger("kidney.serving")


def blueprint(engine: Engine) -> Blueprint:
    """Return /healthz and /readyz; the one warm-up prediction happens here, before any request."""
    routes = Blueprint("health", __name__)
    ready = _warm_up(engine)

    @routes.get("/healthz")
    def healthz() -> Response:
        return jsonify(status="up")

    @routes.get("/readyz")
    def readyz() -> Response:
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
        return jsonify(status="ready")

    return routes


def _warm_up(engine: Engine) -> bool:
    """Predict one black slice; the first run of a graph allocates and is slow."""
    try:
        engine.read([np.zeros((512, 512), dtype=np.uint8)])
    except Exception:  # whatever it was, the process has to live on to say so at /readyz
        _log.exception("The model failed its first prediction.")
        return False
    return True
