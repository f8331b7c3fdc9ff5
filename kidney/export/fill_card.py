"""What a checkpoint and its evaluation say, as the card of the file that is made of them."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kidney.artifact.card import ModelCard
from kidney.artifact.contract import INPUT_CONTRACT, window_contract
from kidney.artifact.decision import Rules
from kidney.errors import ArtifactError
from kidney.evaluation.report.cards import CAVEATS, USE
from kidney.files import sha256
from kidney.models.backbones import weights_licence
from kidney.models.classifier import KidneyClassifier
from kidney.reporting.labels import class_name

METRICS = ("split", "slices", "scans", "figures")  # of an evaluation, what a card tells
_EVALUATE = "Run python scripts/evaluate.py with the same arguments first."


def card_of(
    classifier: KidneyClassifier, settings: dict[str, Any], checkpoint: Path, evaluation: Path
) -> ModelCard:
    """Return the card of a checkpoint; verification and benchmark are still to come.

    Args:
        classifier: of the checkpoint.
        settings: of the checkpoint.
        checkpoint: what training wrote.
        evaluation: metrics.json of this very checkpoint; its figures go into the card.

    Raises:
        ArtifactError: the checkpoint was not evaluated, is of an earlier version or was trained on
            a leaky split.
    """
    lineage = settings["lineage"]
    if lineage["split"]["name"] == "leaky":
        raise ArtifactError(
            "Expected a model trained on a split by scan, but this one was trained on 'leaky'.",
            "Leaky runs exist for comparison only. Train with split=by_scan.",
        )
    return ModelCard(
        classes=tuple(settings["classes"]),
        names={name: class_name(name) for name in settings["classes"]},
        input=dict(INPUT_CONTRACT),
        window=window_contract(lineage["data"].get("window")),
        image_size=settings["image_size"],
        backbone=settings["backbone"],
        weights=lineage["weights"],
        weights_licence=weights_licence(lineage["weights"]),
        precision="float32",
        made_from=None,
        bias=tuple(classifier.head.bias.tolist()),
        temperature=float(classifier.temperature),
        rules=Rules(**settings["rules"]),
        data=lineage["data"],
        baseline=_baseline_of(lineage),
        metrics=_metrics_of(checkpoint, evaluation),
        verification={},
        benchmark={},
        code=lineage["code"],
        run=lineage["run"],
        created=now(),
        intended_use=USE,
        limits=" ".join(CAVEATS),
    )


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _baseline_of(lineage: dict[str, Any]) -> dict[str, Any]:
    if "baseline" not in lineage:
        raise ArtifactError(
            "Expected a checkpoint that knows what its training slices look like, but this one is "
            "of an earlier version.",
            "Train again with this version, then export.",
        )
    baseline: dict[str, Any] = lineage["baseline"]
    return baseline


def _metrics_of(checkpoint: Path, evaluation: Path) -> dict[str, Any]:
    result = _read(evaluation)
    try:
        evaluated, chosen = result["model"]["checkpoint"], sha256(checkpoint)
        metrics = {key: result[key] for key in METRICS}
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{evaluation} is not readable: {error!r}.", _EVALUATE) from error
    if evaluated != chosen:
        raise ArtifactError(
            f"{evaluation} is of checkpoint {evaluated[:12]}, but {chosen[:12]} is to be exported.",
            _EVALUATE,
        )
    return metrics


def _read(evaluation: Path) -> dict[str, Any]:
    if not evaluation.is_file():
        raise ArtifactError(
            f"Expected the model's evaluation at {evaluation}, found none.", _EVALUATE
        )
    try:
        result: dict[str, Any] = json.loads(evaluation.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{evaluation} is not readable: {error!r}.", _EVALUATE) from error
    return result
