"""Real slices with their evidence, for the report."""

import numpy as np
import torch
from numpy.typing import NDArray

from kidney.models.classifier import KidneyClassifier


def explain(
    classifier: KidneyClassifier, slice_: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], list[float]]:
    """Return what `kidney.evaluation.report.examples.worst_examples` asks of a slice (H, W).

    Returns:
        The evidence, float32 (K, h, w), and the region that it covers, in pixels of the slice.
    """
    device = next(classifier.parameters()).device
    with torch.inference_mode():
        answer = classifier.eval()(torch.from_numpy(slice_)[None, None].to(device))
    return answer.evidence[0].cpu().numpy(), answer.region[0].tolist()
