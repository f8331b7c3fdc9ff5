"""What a classifier says of batches of slices, or of the features of a frozen backbone."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from tqdm import tqdm

from kidney.models.classifier import KidneyClassifier


def predict(
    classifier: KidneyClassifier, loader: DataLoader[dict[str, torch.Tensor]]
) -> NDArray[np.float32]:
    """Return probabilities float32 (N, K) in the loader's order.

    Batches carry "slices", or "features" that the classifier's own backbone made of them.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classifier = classifier.eval().to(device)
    found = []
    with torch.inference_mode():
        for batch in tqdm(loader, desc="Predict", unit="batch"):
            pooled = (
                batch["features"].to(device)
                if "features" in batch
                else classifier.pooled(batch["slices"].to(device))
            )
            logits = classifier.head(pooled)  # the mean of the evidence, and the bias
            found.append((logits / classifier.temperature).softmax(dim=1).cpu().numpy())
    return np.concatenate(found)
