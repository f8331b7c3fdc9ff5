"""Does the file say what the module says? Asked on real slices before the file gets its name."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from kidney.errors import ArtifactError
from kidney.models.classifier import KidneyClassifier
from kidney.predictor import Predictor

# float32 rounding alone: against float64 both runtimes are off by up to 4e-5 on logits of size 10
# (EfficientNet-Lite0), which moved a probability by 1.6e-5. A wrong graph is off by 1e-3 and more.
PROBABILITY_TOLERANCE = 5e-5
DECOMPOSITION_TOLERANCE = 1e-4  # relative to the logit where that is above 1
OOD_TOLERANCE = 1e-3  # relative to the score, or to the threshold where that is more


def verify(
    classifier: KidneyClassifier, path: Path, slices: Sequence[NDArray[np.uint8]]
) -> dict[str, float]:
    """Compare onnxruntime with torch.

    Args:
        classifier: what was exported.
        path: the ONNX file.
        slices: real slices (H, W) of any sizes.

    Returns:
        The largest differences: `probabilities`; `decomposition`, that of a logit from the mean of
        its evidence plus the card's bias; and `ood_score`, relative, 0 where there is no score.

    Raises:
        ArtifactError: one of them is too large.
    """
    predictor = Predictor(path)
    bias = np.array(predictor.card.bias)
    if not slices:
        raise ArtifactError(
            "Expected slices to verify the export on, but got none.", "Ingest a data set first."
        )
    probabilities: list[float] = []
    decomposition: list[float] = []
    strangeness: list[float] = []
    with torch.inference_mode():
        for slice_, answer in zip(slices, predictor.predict(slices), strict=True):
            ours = classifier(torch.from_numpy(np.array(slice_))[None, None])
            gap = np.abs(ours.probabilities[0].numpy() - answer.probabilities)
            probabilities.append(float(gap.max()))
            rest = np.abs(answer.evidence.mean(axis=(1, 2)) + bias - answer.logits)
            decomposition.append(float((rest / np.maximum(1.0, np.abs(answer.logits))).max()))
            above = predictor.card.rules.ood_above
            if answer.ood_score is not None and above is not None:
                score = float(ours.ood_score)
                strangeness.append(abs(answer.ood_score - score) / max(score, above, 1e-3))
    gaps = {
        "probabilities": float(np.max(probabilities)),  # NaN where any of them is
        "decomposition": float(np.max(decomposition)),
        "ood_score": float(np.max(strangeness)) if strangeness else 0.0,
    }
    most = (PROBABILITY_TOLERANCE, DECOMPOSITION_TOLERANCE, OOD_TOLERANCE)
    if not all(gap <= limit for gap, limit in zip(gaps.values(), most, strict=True)):
        raise ArtifactError(
            f"Expected onnxruntime to agree with torch to {PROBABILITY_TOLERANCE:g} on "
            f"probabilities, {DECOMPOSITION_TOLERANCE:g} on the decomposition and "
            f"{OOD_TOLERANCE:g} on the out-of-distribution score, but they differ by "
            f"{gaps['probabilities']:g}, {gaps['decomposition']:g} and {gaps['ood_score']:g}.",
            "Nothing was exported. Export again with the pinned versions of constraints.txt.",
        )
    return gaps
