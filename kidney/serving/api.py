"""The HTTP interface for programs: predictions for slices, and the card of the model."""

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from kidney.serving.inference.answers import answer
from kidney.serving.inference.engine import Engine
from kidney.serving.inference.uploads import read_uploads, uploaded_files
from kidney.serving.openapi import PREFIX, answers, as_json, needs_key
from kidney.serving.schemas import Card, Predictions, PredictionsQuery, Uploads
from kidney.serving.settings import Settings

_TAG = Tag(name="Predictions", description="Slices in, probabilities and decisions out.")
_HOW = (
    "The field `file` holds one or many files: JPEG or PNG slices, DICOM files of CT, with several "
    "frames too, or zip archives of either. All pictures of a request are one study, each DICOM "
    "series is one. Of DICOM the model sees the Hounsfield units through the window of its card. "
    "Nothing of what is sent is kept, written down or logged."
)


def blueprint(engine: Engine, settings: Settings) -> APIBlueprint:
    """Return the routes below /api/v1."""
    routes = APIBlueprint("api", __name__, url_prefix=PREFIX, abp_tags=[_TAG])

    @routes.post(
        "/predictions",
        operation_id="predict",
        description=_HOW,
        responses=answers(Predictions, 400, 401, 403, 408, 413, 415, 422, 429, 503),
        security=needs_key(settings),
    )
    def predictions(query: PredictionsQuery, form: Uploads) -> Response:
        """Read slices and studies."""
        uploads = uploaded_files(form.file, settings.max_files)
        studies, reading = read_uploads(engine, settings, uploads, with_hu=bool(query.pixels))
        return as_json(answer(studies, reading, query))

    @routes.get(
        "/model",
        operation_id="model",
        responses=answers(Card, 401, 429),
        security=needs_key(settings),
    )
    def model() -> Response:
        """Return the card of the model that answers now."""
        return as_json(Card(engine.model.card))

    return routes
