"""The model card: everything that a consumer of kidney.onnx has to know, carried inside the file.

The card travels as one JSON text under one key of the ONNX metadata, so any ONNX runtime reads it.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kidney.artifact.decision import Rules, findings
from kidney.artifact.seal import UNSEALED
from kidney.errors import ArtifactError

METADATA_KEY = "kidney.card"
SCHEMA = 4
PRECISIONS = ("float32", "float16", "int8")


@dataclass(frozen=True)
class ModelCard:
    """What the artifact is, where it comes from and how far to trust it.

    Attributes:
        classes: class names in the order of the outputs, for example ("normal", "cyst", ...).
        names: class -> what it is called for people.
        input: what to feed, see `kidney.artifact.contract.INPUT_CONTRACT`.
        window: which Hounsfield units the greys stand for, see
            `kidney.artifact.contract.window_contract`.
        image_size: side in pixels to which the graph itself resizes a slice.
        backbone: timm's name of the network below the head.
        weights: where the backbone's weights came from before training.
        weights_licence: under which licence they came.
        precision: of the weights and sums, one of PRECISIONS.
        made_from: SHA-256 of the float32 file that another precision was made from; None: of none.
        bias: bias of the head, one a class: logit_c = mean(evidence_c) + bias_c.
        temperature: probabilities = softmax(logits / temperature); 1.0 means not calibrated.
        rules: how probabilities become decisions, fitted on validation scans.
        data: name, source, fingerprint, slices and scans of the training data.
        baseline: what the training slices look like, to notice drift; see kidney.imaging.baseline.
        metrics: test figures with split, part, slices, scans, and value, low, high for each figure.
        verification: largest differences between torch and onnxruntime on real slices.
        benchmark: time and memory of a prediction, with the machine they were measured on.
        code: git commit of the code that trained it, "-dirty" appended for uncommitted changes.
        run: id of the tracking run.
        created: UTC time of the export, ISO 8601.
        intended_use: what it is for.
        limits: what it must not be used for and where it is known to be weak.
    """

    classes: tuple[str, ...]
    names: dict[str, str]
    input: dict[str, Any]
    window: dict[str, Any]
    image_size: int
    backbone: str
    weights: str
    weights_licence: str
    precision: str
    made_from: str | None
    bias: tuple[float, ...]
    temperature: float
    rules: Rules
    data: dict[str, Any]
    baseline: dict[str, Any]
    metrics: dict[str, Any]
    verification: dict[str, Any]
    benchmark: dict[str, Any]
    code: str
    run: str
    created: str
    intended_use: str
    limits: str


def to_metadata(card: ModelCard) -> dict[str, str]:
    """Return the ONNX metadata entries that carry `card`, and the one that `seal` fills."""
    text = json.dumps({"schema": SCHEMA, **dataclasses.asdict(card)})
    return {METADATA_KEY: text, **UNSEALED}


def from_metadata(metadata: Mapping[str, str]) -> ModelCard:
    """Read the card out of ONNX metadata.

    Raises:
        ArtifactError: there is no card, it is not readable, or its schema is another one.
    """
    if METADATA_KEY not in metadata:
        raise ArtifactError(
            f"Expected an ONNX file with a model card under {METADATA_KEY!r}, but it has "
            f"{sorted(metadata) or 'no metadata'}.",
            "Use a kidney.onnx that export.py wrote; other ONNX files are not served.",
        )
    try:
        fields = json.loads(metadata[METADATA_KEY])
        schema = fields.pop("schema", None)
        if schema == SCHEMA:
            fields["classes"] = tuple(fields["classes"])
            fields["bias"] = tuple(fields["bias"])
            fields["rules"] = Rules(**fields["rules"])
            card = ModelCard(**fields)
            _check(card)
            return card
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ArtifactError(
            f"The model card cannot be read: {error}.", "Export the model again with export.py."
        ) from error
    raise ArtifactError(
        f"Expected a model card of schema {SCHEMA}, but got {schema!r}.",
        "Export the model again with this version, or run the version that exported it.",
    )


def _check(card: ModelCard) -> None:
    """See that names and operating points are those of the classes, and the precision is known."""
    points, names = sorted(card.rules.suspect_from), sorted(card.names)
    for fits, expected, got in (
        (points == sorted(findings(card.classes)), "operating points for the findings", points),
        (names == sorted(card.classes), "names for the classes", names),
        (card.precision in PRECISIONS, f"a precision in {PRECISIONS}", card.precision),
    ):
        if not fits:
            raise ArtifactError(
                f"Expected {expected}, for {card.classes}, but the card has {got}.",
                "Export the model again with export.py.",
            )
