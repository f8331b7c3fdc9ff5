"""Checkpoint and its evaluation -> kidney.onnx: built, verified, measured, then named."""

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kidney.artifact.card import PRECISIONS, ModelCard
from kidney.export.benchmark import benchmark
from kidney.export.convert import converted_path
from kidney.export.fill_card import card_of
from kidney.export.onnx import to_onnx, write_onnx
from kidney.export.verify import Slices, verify
from kidney.files import whole_file
from kidney.models.checkpoint import load_checkpoint


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
        slices: real slices (H, W) to verify on.
        labels: int64, the true class index of each.
        path: the name that the file gets once it is verified.

    Returns:
        The card that it carries, with what was verified and measured.

    Raises:
        ArtifactError: the checkpoint was not evaluated or was trained on a leaky split, or the
            file does not agree with torch. `path` then stays as it was.
    """
    loaded = load_checkpoint(checkpoint)
    classifier = loaded.classifier
    card = card_of(loaded, checkpoint, evaluation)
    with whole_file(path) as temporary:
        model = to_onnx(classifier)
        write_onnx(model, card, temporary)
        verified = verify(classifier, temporary, slices, labels)
        (measured,) = benchmark([temporary])
        card = dataclasses.replace(card, verification=verified, benchmark=measured)
        write_onnx(model, card, temporary)
        for precision in PRECISIONS:  # what is there was made from the file that is replaced now
            converted_path(path, precision).unlink(missing_ok=True)
    return card
