"""What the frozen part of a network makes of all slices, computed once and kept.

A head needs the mean of the feature maps, a tail the map that the trunk gives: epochs, folds and
settings of what is trained reuse them. View 0 are the slices as they are, each further view has
them augmented once.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from kidney.models.augment import augment
from kidney.models.ood import GREYS


def features_path(
    folder: Path,
    data: str,
    weights: str,
    backbone: str,
    image_size: int,
    stages: Sequence[int],
    trains: str,
    view: int,
) -> Path:
    """Name the file by all that its content depends on."""
    key = json.dumps([data, weights, backbone, image_size, list(stages), trains, GREYS, view])
    return folder / f"features-{backbone}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.npy"


def frozen_features(
    frozen: Callable[[torch.Tensor], torch.Tensor],
    dataset: Dataset[dict[str, torch.Tensor]],
    rows: int,
    path: Path,
    view: int,
    batch_size: int,
    workers: int,
    device: torch.device,
) -> NDArray[np.floating]:
    """Return the features of all slices, from the file where it exists.

    Args:
        frozen: prepared images (N, 1, S, S) -> features (N, ...).
        dataset: all slices of the manifest in its order.
        rows: how many these are.
        path: the file; while it grows it is called PATH.partial, and a run that was killed goes on
            where it stopped.
        view: 0 for the slices as they are, 1 and more for one drawing of the augmentation each.
        batch_size: slices a forward pass.
        workers: loader processes.
        device: where to compute.

    Returns:
        (rows, ...) of the type that `frozen` gives, memory-mapped.
    """
    if path.is_file():
        return open_features(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    growing = path.with_suffix(".partial")
    with torch.inference_mode():
        first = frozen(dataset[0]["images"][None].to(device)).cpu().numpy()
    features = _open_growing(growing, (rows, *first.shape[1:]), first.dtype)
    # Rows are written in order and are NaN until then.
    done = int((~np.isnan(features.reshape(rows, -1)[:, 0])).sum())
    todo = torch.utils.data.Subset(dataset, range(done, rows))
    loader = DataLoader(todo, batch_size=batch_size, num_workers=workers)
    with (
        torch.inference_mode(),
        tqdm(total=rows, initial=done, desc=f"Features, view {view}", unit="slice") as bar,
    ):
        for batch in loader:
            images = batch["images"].to(device)
            if view:
                images = _augmented(images, view, done)
            values = frozen(images).cpu().numpy()
            features[done : done + len(values)] = values
            features.flush()
            done += len(values)
            bar.update(len(values))
    del features
    growing.rename(path)
    return open_features(path)


def open_features(path: Path) -> NDArray[np.floating]:
    """Open a file that `frozen_features` finished."""
    features: NDArray[np.floating] = np.load(path, mmap_mode="r")
    return features


def _augmented(images: torch.Tensor, view: int, first_row: int) -> torch.Tensor:
    """Augment each image by a drawing that depends on its view and row alone."""
    changed = []
    with torch.random.fork_rng():
        for number, image in enumerate(images):
            place = np.random.SeedSequence([view, first_row + number])
            torch.manual_seed(int(place.generate_state(1)[0]))
            changed.append(augment(image[None]))
    return torch.cat(changed)


def _open_growing(
    path: Path, shape: tuple[int, ...], dtype: np.dtype[np.floating]
) -> "np.memmap[tuple[int, ...], np.dtype[np.floating]]":
    if path.is_file():
        try:
            found = np.lib.format.open_memmap(path, mode="r+")
            if found.shape == shape and found.dtype == dtype:
                return found
        except (ValueError, OSError):
            pass  # killed while the file was being laid out: it holds nothing yet
    fresh = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    fresh[:] = np.nan
    return fresh
