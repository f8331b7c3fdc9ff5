"""Real slices, for the verification of an export and with their evidence for the report."""

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig

from kidney.data.cache import open_cache
from kidney.data.manifest import read_manifest
from kidney.models.classifier import KidneyClassifier
from kidney.training.stages import data_folder

_EACH = 2


def example_slices(cfg: DictConfig) -> list[NDArray[np.uint8]]:
    """Return a few slices of every label and every size of the data set."""
    slices = read_manifest(data_folder(cfg))
    cache = open_cache(data_folder(cfg), slices)
    chosen = slices.groupby(["label", "height", "width"]).head(_EACH).index
    return [np.array(cache[row]) for row in chosen]


def explain(
    classifier: KidneyClassifier, slice_: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], list[float]]:
    """Return what `kidney.evaluation.examples.worst_examples` asks of a slice (H, W).

    Returns:
        The evidence, float32 (K, h, w), and the region that it covers, in pixels of the slice.
    """
    device = next(classifier.parameters()).device
    with torch.inference_mode():
        answer = classifier.eval()(torch.from_numpy(slice_)[None, None].to(device))
    return answer.evidence[0].cpu().numpy(), answer.region[0].tolist()
