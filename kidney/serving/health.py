"""For orchestrators: whether the process is up, and whether it can predict."""

from flask import Blueprint, Response, jsonify

from kidney.serving.engine import Engine
from kidney.serving.problems import Problem, RequestError


def blueprint(engine: Engine) -> Blueprint:
    """Return /healthz and /readyz."""
    routes = Blueprint("health", __name__)

    @routes.get("/healthz")
    def healthz() -> Response:
        return jsonify(status="up")

    @routes.get("/readyz")
    def readyz() -> Response:
        if not engine.ready:
            raise RequestError(
                Problem(
                    503,
                    "Not ready",
                    "The model was loaded, but it failed its first prediction.",
                    "Read the server's log; export the model again or serve another one.",
                    "urn:kidney:problem:not-ready",
                )
            )
        # What another file was refused for stands in the log: it can name folders of the server.
        return jsonify(
            status="ready", sha256=engine.model.sha256, new_model_refused=bool(engine.refused)
        )

    return routes
