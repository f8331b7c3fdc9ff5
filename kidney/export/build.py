"""Checkpoint and its evaluation -> kidney.onnx: built, verified, measured, then named."""

import dataclasses
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from kidney.artifact.card import (
    INPUT_CONTRACT,
    PRECISIONS,
    Baseline,
    Benchmark,
    Metrics,
    ModelCard,
    TrainingData,
    Verification,
    window_contract,
)
from kidney.errors import ArtifactError
from kidney.evaluation.report.cards import CAVEATS, USE
from kidney.export.benchmark import benchmark
from kidney.export.onnx import to_onnx, write_onnx
from kidney.export.verify import Slices, verify
from kidney.files import sha256, whole_file
from kidney.models.backbones import weights_licence
from kidney.models.checkpoint import Checkpoint, load_checkpoint
from kidney.reporting.labels import class_name

_EVALUATE = "Run python scripts/evaluate.py with the same arguments first."


def build_artifact(
    checkpoint: Path,
    evaluation: Path,
    slices: Slices,
    labels: NDArray[np.int64],
    path: Path,
) -> ModelCard:
    """Write the ONNX file of a checkpoint.

    Args:
        checkpoint: what training wrote.
        evaluation: metrics.json of this very checkpoint; its figures go into the card.
        slices: real slices, uint8 (H, W), to verify on.
        labels: int64, the true class index of each.
        path: the name that the file gets once it is verified.

    Returns:
        The card that it carries, with its verification and benchmark.

    Raises:
        ArtifactError: the checkpoint was not evaluated or was trained on a leaky split, or the
            file does not agree with torch. `path` then stays as it was.
    """
    loaded = load_checkpoint(checkpoint)
    classifier = loaded.model
    card = _card_of(loaded, read_metrics(evaluation, checkpoint))
    with whole_file(path) as temporary:
        model = to_onnx(classifier)
        write_onnx(model, card, temporary)
        verification = verify(classifier, temporary, slices, labels)
        (measured,) = benchmark([temporary])
        card = dataclasses.replace(card, verification=verification, benchmark=measured)
        write_onnx(model, card, temporary)
        for precision in PRECISIONS:  # what is there was made from the file that is replaced now
            converted_path(path, precision).unlink(missing_ok=True)
    return card


def converted_path(original: Path, precision: str) -> Path:
    """Return where the file of another precision lies: kidney.int8.onnx beside kidney.onnx."""
    return original.with_suffix(f".{precision}{original.suffix}")


def benchmark_line(path: Path, measured: Benchmark) -> str:
    """Return one line for people on size, time and memory of a file."""
    return (
        f"{path}: {measured.size_mb:.1f} MB, {measured.milliseconds:.1f} ms a slice of "
        f"{' x '.join(map(str, measured.slice))} with {measured.threads} threads, "
        f"{measured.peak_memory_mb or 0:.0f} MB of memory"
    )


def verification_line(found: Verification) -> str:
    """Return one line for people on how well a float32 file agrees with torch."""
    largest = ", ".join(
        f"{name} {found.largest[name]:.0e}"
        for name in ("probabilities", "evidence", "decomposition")
    )
    return (
        f"onnxruntime agrees with torch on {found.slices} slices, {len(found.sizes)} sizes and "
        f"batches of {', '.join(map(str, found.batches))}: {largest}"
    )


def utc_now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def metrics_of(result: Mapping[str, Any]) -> Metrics:
    """Return the part of an evaluation that a card carries.

    Raises:
        KeyError: `result` lacks a part.
        ValidationError: a part is not as the card has it.
    """
    parts = {field.name: result[field.name] for field in dataclasses.fields(Metrics)}
    return TypeAdapter(Metrics).validate_python(parts)


def read_metrics(evaluation: Path, checkpoint: Path) -> Metrics:
    """Read metrics.json of a checkpoint.

    Raises:
        ArtifactError: it is missing, cannot be read, or is that of another checkpoint.
    """
    if not evaluation.is_file():
        raise ArtifactError(
            f"Expected the model's evaluation at {evaluation}, found none.", _EVALUATE
        )
    try:
        result = json.loads(evaluation.read_text(encoding="utf-8"))
        evaluated, metrics = result["model"]["checkpoint"], metrics_of(result)
    except (ValueError, KeyError, TypeError) as error:
        reason = error.errors()[0] if isinstance(error, ValidationError) else error
        raise ArtifactError(f"{evaluation} is not readable: {reason!r}.", _EVALUATE) from error
    if evaluated != (chosen := sha256(checkpoint)):
        raise ArtifactError(
            f"{evaluation} is of checkpoint {evaluated[:12]}, but {chosen[:12]} is to be exported.",
            _EVALUATE,
        )
    return metrics


def _card_of(checkpoint: Checkpoint, metrics: Metrics) -> ModelCard:
    """Return the card of a checkpoint; verification and benchmark are still to come."""
    classifier, hparams, lineage = checkpoint.model, checkpoint.hparams, checkpoint.lineage
    if lineage.split.name == "leaky":
        raise ArtifactError(
            "Expected a model trained on a split by patient, but this one was trained on 'leaky'.",
            "Leaky runs exist for comparison only. Train with split=by_patient.",
        )
    return ModelCard(
        classes=tuple(hparams.classes),
        names={name: class_name(name) for name in hparams.classes},
        input=INPUT_CONTRACT,
        window=window_contract(lineage.data.window),
        image_size=hparams.image_size,
        backbone=hparams.backbone,
        weights=lineage.weights,
        weights_licence=weights_licence(lineage.weights),
        precision="float32",
        made_from=None,
        bias=tuple(classifier.bias.tolist()),
        temperature=float(classifier.temperature),
        rules=checkpoint.rules,
        data=TrainingData(**dataclasses.asdict(lineage.data)),
        baseline=Baseline(**lineage.baseline) if lineage.baseline else None,
        metrics=metrics,
        verification=None,
        benchmark=None,
        code=lineage.code,
        run=lineage.run,
        created=utc_now(),
        intended_use=USE,
        limits=" ".join(CAVEATS),
    )
