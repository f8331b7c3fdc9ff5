"""Computed once for a frozen part of a network: the features of all slices, and the locator.

A head needs embeddings, a tail the trunk's maps: epochs, folds and hyperparameters of the trained
part reuse them. Augmentation 0 are the slices as they are; each further one has them augmented
once. The locator is fitted once a backbone, on phantoms whose kidneys are known.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from kidney.data.phantom.locator_set import SCANS, locator_set
from kidney.files import digest, whole_file
from kidney.models.augment import augment
from kidney.models.checkpoint import Hparams
from kidney.models.classifier import KidneyClassifier
from kidney.models.locator import fit_locator
from kidney.models.ood import HISTOGRAM_BINS
from kidney.models.prepare import body_region, cut_out


def features_path(
    folder: Path, data: str, weights: str, hparams: Hparams, augmentation: int
) -> Path:
    """Name the file of the frozen part's features by all that its content depends on."""
    key = [
        data, weights, hparams.backbone, hparams.image_size, list(hparams.stages),
        hparams.trainable, HISTOGRAM_BINS, augmentation,
    ]  # fmt: skip
    return folder / f"features-{hparams.backbone}-{digest(key)}.npy"


def frozen_features(
    frozen: Callable[[Tensor], Tensor],
    dataset: Dataset[dict[str, Tensor]],
    rows: int,
    path: Path,
    augmentation: int,
    batch_size: int,
    num_workers: int,
    device: torch.device,
) -> NDArray[np.floating]:
    """Return the features of all slices, from the file where it exists.

    Args:
        frozen: prepared images (N, 1, S, S) -> features (N, ...).
        dataset: all slices of the manifest in its order.
        path: the file; while it grows it is called PATH.partial, and a run that was killed goes on
            where it stopped.
        augmentation: 0 for the slices as they are, 1 and more for one random draw each.

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
    loader = DataLoader(todo, batch_size=batch_size, num_workers=num_workers)
    with (
        torch.inference_mode(),
        tqdm(total=rows, initial=done, desc=f"Features {augmentation}", unit="slice") as bar,
    ):
        for batch in loader:
            images = batch["images"].to(device)
            if augmentation:
                images = _augmented(images, augmentation, done)
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


def _augmented(images: Tensor, augmentation: int, first_row: int) -> Tensor:
    """Augment each image by random numbers that depend on augmentation and row alone."""
    changed = []
    with torch.random.fork_rng():
        for number, image in enumerate(images):
            seed = np.random.SeedSequence([augmentation, first_row + number])
            torch.manual_seed(int(seed.generate_state(1)[0]))
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


def locate_kidneys(classifier: KidneyClassifier, weights: str, cache: Path) -> None:
    """Set the locator of a classifier with a frozen trunk: from the cache, else fitted to phantoms.

    Args:
        cache: folder that keeps locators.
    """
    backbone = classifier.backbone
    key = [weights, backbone.name, classifier.image_size, list(backbone.stages), SCANS]
    path = cache / f"locator-{backbone.name}-{digest(key)}.safetensors"
    if not path.is_file():
        print(f"Fitting the kidney locator to phantoms: {path}", flush=True)
        fit_locator(classifier.locator, *_located_phantoms(classifier.eval()))
        with whole_file(path) as temporary:
            save_file(classifier.locator.state_dict(), temporary)
    classifier.locator.load_state_dict(load_file(path))


def _located_phantoms(classifier: KidneyClassifier) -> tuple[Tensor, Tensor]:
    """Return the trunk's maps (N, c, h, w) of phantoms and the kidney's share of each position."""
    maps, shares = [], []
    with torch.inference_mode():
        for sample in locator_set():
            slice_ = torch.from_numpy(sample.slice)[None, None]
            region = body_region(slice_)
            found = classifier.trunk_maps(cut_out(slice_, region, classifier.image_size))
            kidney = torch.from_numpy(sample.kidney)[None, None]
            maps.append(found)
            shares.append(cut_out(kidney, region, found.shape[2])[:, 0])
    # Out of inference mode: they take part in a fit.
    return torch.cat(maps).clone(), torch.cat(shares).clamp(0, 1).clone()
