"""Features of a frozen backbone, computed once and kept.

The head is a mean and a linear layer, so the mean of the feature map is all that it needs: epochs,
folds and head settings reuse it.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from kidney.models.classifier import KidneyClassifier


def features_path(folder: Path, data: str, weights: str, backbone: str, image_size: int) -> Path:
    """Name the file by all that its content depends on."""
    key = json.dumps([data, weights, backbone, image_size])
    return folder / f"features-{backbone}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.npy"


def pooled_features(
    classifier: KidneyClassifier,
    dataset: Dataset[dict[str, torch.Tensor]],
    rows: int,
    path: Path,
    batch_size: int,
    workers: int,
    device: torch.device,
) -> NDArray[np.float32]:
    """Return the pooled features of all slices, from the file where it exists.

    Args:
        classifier: its backbone is used, in evaluation mode.
        dataset: all slices of the manifest in its order.
        rows: how many these are.
        path: the file; while it grows it is called PATH.partial, and a run that was killed goes on
            where it stopped.
        batch_size: slices a forward pass.
        workers: loader processes.
        device: where to compute.

    Returns:
        float32 (rows, C).
    """
    if path.is_file():
        return np.asarray(np.load(path, mmap_mode="r"), dtype=np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    growing = path.with_suffix(".partial")
    shape = (rows, classifier.backbone.channels)
    features = _open_growing(growing, shape)
    # Rows are written in order and are NaN until then.
    done = int((~np.isnan(features[:, 0])).sum())
    todo = torch.utils.data.Subset(dataset, range(done, rows))
    loader = DataLoader(todo, batch_size=batch_size, num_workers=workers)
    classifier.eval().to(device)
    with (
        torch.inference_mode(),
        tqdm(total=rows, initial=done, desc="Features", unit="slice") as bar,
    ):
        for batch in loader:
            values = classifier.pooled(batch["slices"].to(device)).float().cpu().numpy()
            features[done : done + len(values)] = values
            features.flush()
            done += len(values)
            bar.update(len(values))
    del features
    growing.rename(path)
    return np.asarray(np.load(path))


def _open_growing(
    path: Path, shape: tuple[int, int]
) -> "np.memmap[tuple[int, ...], np.dtype[np.float32]]":
    if path.is_file():
        try:
            found = np.lib.format.open_memmap(path, mode="r+")
            if found.shape == shape:
                return found
        except (ValueError, OSError):
            pass  # killed while the file was being laid out: it holds nothing yet
    fresh = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    fresh[:] = np.nan
    return fresh
