"""The HTTP interface for programs: predictions for slices, and the card of the model."""

import base64
import dataclasses
from typing import Any

import numpy as np
from flask import Blueprint, Response, jsonify, request
from numpy.typing import NDArray

from kidney.card import ModelCard
from kidney.decision import Decision, decide
from kidney.overlay import evidence_overlay, png_bytes, within
from kidney.predictor import Answer
from kidney.serving.engine import Engine
from kidney.serving.problems import Problem, RequestError
from kidney.serving.settings import Settings
from kidney.serving.uploads import decode_all, uploaded_files

NOTICE = "Research use only; not a diagnosis."
OVERLAY_SIDE = 1024  # pixels; larger slices are shrunk for their overlay


def blueprint(engine: Engine, settings: Settings) -> Blueprint:
    """Return the routes below /api/v1."""
    routes = Blueprint("api", __name__, url_prefix="/api/v1")

    @routes.post("/predictions")
    def predictions() -> Response:
        with_overlay = _wants_overlay()
        slices = decode_all(uploaded_files(settings.max_files), settings.max_pixels)
        reading = engine.read(slices)
        card = reading.model.card
        return jsonify(
            model={
                "run": card.run,
                "code": card.code,
                "created": card.created,
                "precision": card.precision,
                "sha256": reading.model.sha256,
            },
            predictions=[
                _prediction(slice_, answer, card, with_overlay)
                for slice_, answer in zip(slices, reading.answers, strict=True)
            ],
            notice=NOTICE,
        )

    @routes.get("/model")
    def model() -> Response:
        return jsonify(dataclasses.asdict(engine.model.card))

    return routes


def overlay_url(
    slice_: NDArray[np.uint8], answer: Answer, decision: Decision, card: ModelCard
) -> str:
    """Return a data URL of the slice (H, W) with the evidence for the decision's label on it.

    Full colour is the strongest evidence for any class on this slice. A slice with a side above
    1024 pixels is shrunk.
    """
    evidence_map = answer.evidence[card.classes.index(decision.label)]
    strongest = float(answer.evidence.max())
    painted = evidence_overlay(slice_, evidence_map, strongest, region=answer.region)
    return png_url(within(painted, OVERLAY_SIDE))


def png_url(picture: NDArray[np.uint8]) -> str:
    """Return a data URL with a grey (H, W) or RGB (H, W, 3) picture."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(picture)).decode("ascii")


def _wants_overlay() -> bool:
    value = request.args.get("overlay")
    if value not in (None, "png"):
        raise RequestError(
            Problem(
                400,
                "Unknown kind of overlay",
                "Expected the parameter overlay to be png or absent, but got something else.",
                "Ask for ?overlay=png or leave the parameter out.",
                "urn:kidney:problem:overlay",
            )
        )
    return value == "png"


def _prediction(
    slice_: NDArray[np.uint8], answer: Answer, card: ModelCard, with_overlay: bool
) -> dict[str, Any]:
    decision = decide(answer.probabilities, card.classes, card.rules, answer.ood_score)
    prediction: dict[str, Any] = {
        "decision": decision.outcome,
        "label": decision.label,
        "probabilities": dict(zip(card.classes, answer.probabilities.tolist(), strict=True)),
        "set": list(decision.prediction_set),
        "suspected": list(decision.suspected),
        "ood_score": answer.ood_score,
        "size": list(slice_.shape),
    }
    if with_overlay:
        prediction["overlay"] = overlay_url(slice_, answer, decision, card)
    return prediction
