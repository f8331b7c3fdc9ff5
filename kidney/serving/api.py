"""The HTTP interface for programs: predictions for slices, and the card of the model."""

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from kidney.feedback.store import FeedbackStore
from kidney.serving import schemas
from kidney.serving.feedback import keep_result
from kidney.serving.inference.decode import decode, uploaded_files
from kidney.serving.inference.encode import encode
from kidney.serving.inference.engine import Engine
from kidney.serving.openapi import PREFIX, as_json, needs_key, responses
from kidney.serving.settings import Settings

_TAG = Tag(name="Predictions", description="Slices in, probabilities and decisions out.")
_HOW = (
    "The field `file` holds one or many files: JPEG or PNG slices, DICOM files of CT, with several "
    "frames too, or zip archives of either. All pictures of a request are one series, and so is "
    "each DICOM series. Of DICOM the model sees the Hounsfield units through the window of its "
    "card. Nothing of what is sent is kept, written down or logged."
)


def blueprint(engine: Engine, settings: Settings, store: FeedbackStore | None) -> APIBlueprint:
    """Return the routes below /api/v1."""
    routes = APIBlueprint("api", __name__, url_prefix=PREFIX, abp_tags=[_TAG])

    @routes.post(
        "/predictions",
        operation_id="predict",
        description=_HOW,
        responses=responses(schemas.Response, 400, 401, 403, 408, 413, 415, 422, 429, 503),
        security=needs_key(settings),
    )
    def predictions(query: schemas.PredictionsQuery, form: schemas.Uploads) -> Response:
        """Read slices and series."""
        model = engine.model  # the same from here on, also where a newer one takes over
        uploads = uploaded_files(form.file, settings.max_files)
        series = decode(uploads, settings, model.card.window.window, with_hu=bool(query.pixels))
        predicted = engine.predict(model, [one.grey for part in series for one in part.slices])
        response = encode(model, series, predicted, query)
        if store:
            keep_result(store, response, series)
        return as_json(response)

    @routes.get(
        "/model",
        operation_id="model",
        responses=responses(schemas.Card, 401, 429),
        security=needs_key(settings),
    )
    def model() -> Response:
        """Return the card of the model that answers now."""
        return as_json(schemas.Card(engine.model.card))

    return routes
