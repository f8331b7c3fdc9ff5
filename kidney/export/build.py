"""Checkpoint and its evaluation -> kidney.onnx: built, verified, then named."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kidney.card import ModelCard
from kidney.contract import INPUT_CONTRACT, window_contract
from kidney.decision import Rules
from kidney.errors import ArtifactError
from kidney.evaluation.model_card import CAVEATS, USE
from kidney.export.onnx import write_onnx
from kidney.export.verify import verify
from kidney.files import sha256, whole_file
from kidney.models.backbones import weights_licence
from kidney.models.checkpoint import load_checkpoint
from kidney.names import class_name

_EVALUATE = "Run python scripts/evaluate.py with the same arguments first."


def build_artifact(
    checkpoint: Path,
    evaluation: Path,
    slices: Sequence[NDArray[np.uint8]],
    path: Path,
) -> dict[str, float]:
    """Write the ONNX file of a checkpoint.

    Args:
        checkpoint: what training wrote.
        evaluation: metrics.json of this very checkpoint; its figures go into the card.
        slices: real slices (H, W) to verify on.
        path: the name that the file gets once it is verified.

    Returns:
        The largest differences from torch.

    Raises:
        ArtifactError: the checkpoint was not evaluated or was trained on a leaky split, or the
            file does not agree with torch. `path` then stays as it was.
    """
    classifier, settings = load_checkpoint(checkpoint)
    lineage = settings["lineage"]
    if lineage["split"]["name"] == "leaky":
        raise ArtifactError(
            "Expected a model trained on a split by scan, but this one was trained on 'leaky'.",
            "Leaky runs exist for comparison only. Train with split=by_scan.",
        )
    card = ModelCard(
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
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        intended_use=USE,
        limits=" ".join(CAVEATS),
    )
    with whole_file(path) as temporary:
        write_onnx(classifier, card, temporary)
        return verify(classifier, temporary, slices)


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
        metrics = {key: result[key] for key in ("split", "slices", "scans", "figures")}
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
