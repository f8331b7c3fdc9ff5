"""For orchestrators: whether the process is up, and whether it can predict."""

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from kidney.serving.inference.engine import Engine
from kidney.serving.openapi import as_json, responses
from kidney.serving.problems import Problem, RequestError
from kidney.serving.schemas import Readiness, Status

_TAG = Tag(name="Health", description="For orchestrators.")


def blueprint(engine: Engine) -> APIBlueprint:
    """Return /healthz and /readyz."""
    routes = APIBlueprint("health", __name__, abp_tags=[_TAG])

    @routes.get("/healthz", operation_id="healthz", responses=responses(Status))
    def healthz() -> Response:
        """Report that the process is up."""
        return as_json(Status(status="up"))

    @routes.get("/readyz", operation_id="readyz", responses=responses(Readiness, 503))
    def readyz() -> Response:
        """Report that the model answers, and which one it is."""
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
        # The reason of a refusal is in the log: it can name folders of the server.
        return as_json(
            Readiness(
                status="ready",
                sha256=engine.model.sha256,
                new_model_refused=bool(engine.refused),
            )
        )

    return routes
