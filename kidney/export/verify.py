"""Does the file say what the module says? Asked on real slices before the file gets its name."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from kidney.errors import ArtifactError
from kidney.models.classifier import KidneyClassifier
from kidney.predictor import Predictor

PROBABILITY_TOLERANCE = 1e-5
DECOMPOSITION_TOLERANCE = 1e-4  # relative to the largest logit, at least 1


def verify(
    classifier: KidneyClassifier, path: Path, slices: Sequence[NDArray[np.uint8]]
) -> dict[str, float]:
    """Compare onnxruntime with torch.

    Args:
        classifier: what was exported.
        path: the ONNX file.
        slices: real slices (H, W) of any sizes.

    Returns:
        The largest differences: `probabilities`, and `decomposition`, that of a logit from the
        mean of its evidence plus the card's bias.

    Raises:
        ArtifactError: one of them is too large.
    """
    predictor = Predictor(path)
    bias = np.array(predictor.card.bias)
    probabilities = decomposition = 0.0
    with torch.inference_mode():
        for slice_, answer in zip(slices, predictor.predict(slices), strict=True):
            ours = classifier(torch.from_numpy(np.array(slice_))[None, None])
            gap = np.abs(ours.probabilities[0].numpy() - answer.probabilities).max()
            probabilities = max(probabilities, float(gap))
            rest = np.abs(answer.evidence.mean(axis=(1, 2)) + bias - answer.logits).max()
            scale = max(1.0, float(np.abs(answer.logits).max()))
            decomposition = max(decomposition, float(rest) / scale)
    # Written so that NaN fails too.
    if not (probabilities <= PROBABILITY_TOLERANCE and decomposition <= DECOMPOSITION_TOLERANCE):
        raise ArtifactError(
            f"Expected onnxruntime to agree with torch to {PROBABILITY_TOLERANCE:g} on "
            f"probabilities and {DECOMPOSITION_TOLERANCE:g} on the decomposition, but they differ "
            f"by {probabilities:g} and {decomposition:g}.",
            "Nothing was exported. Export again with the pinned versions of constraints.txt.",
        )
    return {"probabilities": probabilities, "decomposition": decomposition}
