"""Readers' feedback on results, and the results that a reader has asked for. Off by default."""

import datetime
import hashlib
import logging
import sqlite3
import uuid
from collections.abc import Sequence

from flask import Blueprint, Response, g, render_template, request
from flask_openapi3 import APIBlueprint, Tag
from werkzeug.exceptions import NotFound

from kidney.feedback.store import Feedback, FeedbackStore, Result
from kidney.serving import schemas
from kidney.serving.inference.decode import Series
from kidney.serving.inference.engine import Engine
from kidney.serving.openapi import PREFIX, as_json, needs_key, responses
from kidney.serving.problems import Problem, RequestError
from kidney.serving.settings import Settings

_log = logging.getLogger("kidney.serving")
_TAG = Tag(name="Feedback", description="What readers say of results.")
_LONGEST_BODY = 65536  # bytes: a class and the positions of a thousand slices


def open_store(settings: Settings) -> FeedbackStore | None:
    """Return where feedback is kept; None: it is off.

    Raises:
        ConfigError: the file cannot be written.
    """
    return FeedbackStore(settings.feedback_file) if settings.feedback_file else None


def keep_result(store: FeedbackStore, response: schemas.Response, series: Sequence[Series]) -> None:
    """Keep what was predicted and give the response its id; a prediction never fails by this."""
    id, at = uuid.uuid4().hex, _now().isoformat(timespec="seconds")
    try:
        for number, (one, encoded) in enumerate(zip(series, response.series, strict=True)):
            store.add_result(
                Result(
                    id=id,
                    series=number,
                    at=at,
                    reader=g.key_name,
                    model=response.model.sha256,
                    label=encoded.label,
                    decision=encoded.decision,
                    slices=len(one.slices),
                ),
                [
                    (slice_.sha256, hashlib.sha256(slice_.grey.tobytes()).hexdigest())
                    for slice_ in one.slices
                ],
            )
    except sqlite3.Error as error:
        _log.error("The result is not kept for feedback: %s", error)
        return
    response.result = id


def blueprint(engine: Engine, settings: Settings, store: FeedbackStore) -> APIBlueprint:
    """Return the route that takes feedback."""
    routes = APIBlueprint("feedback", __name__, url_prefix=PREFIX, abp_tags=[_TAG])

    @routes.before_request
    def limit_body() -> None:
        request.max_content_length = _LONGEST_BODY

    @routes.post(
        "/feedback",
        operation_id="feedback",
        responses=responses(schemas.Noted, 400, 401, 403, 404, 413, 415, 429),
        security=needs_key(settings),
    )
    def feedback(body: schemas.Feedback) -> Response:
        """Say whether a result is right."""
        found = [one for one in store.results(id=body.result) if one.series == body.series]
        if not found:
            raise RequestError(_NO_RESULT)
        result, classes = found[0], engine.model.card.classes
        label = body.label or result.label
        if (
            label not in classes
            or (label == result.label) != (body.verdict == "agree")
            or any(at > result.slices for at in body.slices)
        ):
            raise RequestError(
                Problem(
                    400,
                    "Feedback that cannot be meant",
                    f"Expected a class of {', '.join(classes)}, that of the result with agree and "
                    f"another with disagree, and slices from 1 to {result.slices}.",
                    f"{PREFIX}/docs describes the members.",
                    "urn:kidney:problem:feedback",
                )
            )
        at = _now().isoformat(timespec="seconds")
        positions = tuple(sorted(set(body.slices)))
        store.add_feedback(
            Feedback(
                result.id, result.series, at, g.key_name, body.verdict == "agree", label, positions
            )
        )
        return as_json(schemas.Noted(result=result.id, label=label, slices=list(positions)))

    return routes


def history(settings: Settings, store: FeedbackStore) -> Blueprint:
    """Return the page of a signed-in reader's own results of the last days."""
    routes = Blueprint("history", __name__)

    @routes.get("/history")
    def page() -> str:
        if not g.key_name:  # keys are off: everyone's results are nobody's
            raise NotFound
        since = _now() - datetime.timedelta(days=settings.history_days)
        results = store.results(reader=g.key_name, since=since.isoformat(timespec="seconds"))
        return render_template("history.html", results=results, days=settings.history_days)

    return routes


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


_NO_RESULT = Problem(
    404,
    "No such result",
    "Expected the id of a result of this server and the index of one of its series, but there is "
    "none.",
    "Send the member `result` of the response to /api/v1/predictions.",
    "urn:kidney:problem:no-result",
)
