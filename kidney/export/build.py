"""Checkpoint and its evaluation -> kidney.onnx: built, verified, then named."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kidney.card import ModelCard
from kidney.errors import ArtifactError
from kidney.export.onnx import write_onnx
from kidney.export.verify import verify
from kidney.files import sha256, whole_file
from kidney.models.checkpoint import load_checkpoint

# Below a half no class outweighs the others together.
REVIEW_BELOW = 0.5
INTENDED_USE = (
    "Research on axial kidney CT slices, window about 400 HU wide around 40 HU, 8-bit grey. It "
    "supports readers who also see the images; it is no medical device and makes no diagnosis."
)
LIMITS = (
    "Probabilities are not calibrated (temperature 1) and there is no out-of-distribution score: "
    "anything that is not such a slice still gets an answer. Contrast phase, scanner and framing "
    "differ between the classes of the public set, and the model may read these instead of the "
    "finding. Figures hold for scans like those of the named split."
)


def build_artifact(
    checkpoint: Path, evaluation: Path, slices: Sequence[NDArray[np.uint8]], path: Path
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
        image_size=settings["image_size"],
        backbone=settings["backbone"],
        weights=lineage["weights"],
        bias=tuple(classifier.head.bias.tolist()),
        temperature=float(classifier.temperature),
        review_below=REVIEW_BELOW,
        ood_threshold=None,
        data=lineage["data"],
        baseline=_baseline_of(lineage),
        metrics=_metrics_of(checkpoint, evaluation),
        code=lineage["code"],
        run=lineage["run"],
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        intended_use=INTENDED_USE,
        limits=LIMITS,
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
    remedy = "Run python scripts/evaluate.py with the same arguments first."
    if not evaluation.is_file():
        raise ArtifactError(f"Expected the model's evaluation at {evaluation}, found none.", remedy)
    try:
        result: dict[str, Any] = json.loads(evaluation.read_text(encoding="utf-8"))
        evaluated, chosen = result["model"]["checkpoint"], sha256(checkpoint)
        metrics = {key: result[key] for key in ("split", "slices", "scans", "figures")}
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{evaluation} is not readable: {error!r}.", remedy) from error
    if evaluated != chosen:
        raise ArtifactError(
            f"{evaluation} is of checkpoint {evaluated[:12]}, but {chosen[:12]} is to be exported.",
            remedy,
        )
    return metrics
