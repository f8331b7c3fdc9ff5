"""What a classifier says of batches of slices, or of the features of a frozen backbone."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from tqdm import tqdm

from kidney.models.classifier import KidneyClassifier


class Raw(NamedTuple):
    """What all decisions about N slices are made of."""

    logits: NDArray[np.float32]  # (N, K)
    ood_scores: NDArray[np.float32]  # (N,), NaN where that is not fitted


def predict(classifier: KidneyClassifier, loader: DataLoader[dict[str, torch.Tensor]]) -> Raw:
    """Return logits and out-of-distribution scores in the loader's order.

    Batches carry prepared "images", or "features" that the classifier's own backbone made of them.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classifier = classifier.eval().to(device)
    logits, scores = [], []
    with torch.inference_mode():
        for batch in tqdm(loader, desc="Predict", unit="batch"):
            described = described_of(classifier, batch, device)
            logits.append(classifier.logits(described).cpu().numpy())
            scores.append(classifier.ood(described).cpu().numpy())
    return Raw(np.concatenate(logits), np.concatenate(scores))


def described_of(
    classifier: KidneyClassifier, batch: dict[str, torch.Tensor], device: torch.device
) -> torch.Tensor:
    """Return what logits and out-of-distribution score need, (N, D), of a batch of either kind."""
    if "features" in batch:
        return classifier.finished(batch["features"].to(device))
    return classifier.described(batch["images"].to(device))
