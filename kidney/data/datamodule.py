"""The slices of a split as batches."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from kidney.data.cache import SliceCache, open_cache
from kidney.data.manifest import read_manifest
from kidney.data.split import parts_of, read_split
from kidney.errors import DataError

Batch = dict[str, Tensor]


class SliceDataset(Dataset[Batch]):
    """Slices brought to one size, so that they can share a batch.

    Args:
        cache: all slices of the manifest.
        rows: which of them, in order.
        labels: class index of every row of the manifest.
        resize: uint8 (1, 1, H, W) -> float (1, 1, S, S), the function that the model itself
            begins with: at its own size the model's resize then changes nothing.
    """

    def __init__(
        self,
        cache: SliceCache,
        rows: NDArray[np.int64],
        labels: NDArray[np.int64],
        resize: Callable[[Tensor], Tensor],
    ) -> None:
        self._cache, self._rows, self._labels, self._resize = cache, rows, labels, resize

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Batch:
        """Return slices float32 (1, S, S) in 0..255 and label int64 ()."""
        row = int(self._rows[index])
        slice_ = torch.from_numpy(np.array(self._cache[row]))
        return {
            "slices": self._resize(slice_[None, None])[0],
            "labels": torch.tensor(self._labels[row]),
        }


class FeatureDataset(Dataset[Batch]):
    """Features of a frozen backbone, computed once, in the place of slices."""

    def __init__(
        self, features: NDArray[np.float32], rows: NDArray[np.int64], labels: NDArray[np.int64]
    ) -> None:
        self._features = torch.from_numpy(features[rows])
        self._labels = torch.from_numpy(labels[rows])

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Batch:
        """Return features float32 (C,) and label int64 ()."""
        return {"features": self._features[index], "labels": self._labels[index]}


class KidneyDataModule(pl.LightningDataModule):
    """Manifest, split file and slice cache of one data folder, for Lightning.

    Args:
        folder: the data folder, for example data/ct_kidney.
        classes: class names in the order of the model's outputs.
        split: name of the split file.
        fold: the fold that is the test part; 0 is the holdout.
        validation_fold: the fold that is the validation part; None is the one after `fold`.
        resize: see SliceDataset.
        batch_size: slices a step.
        workers: loader processes.
        seed: of the order in which slices are seen.
        features: float32 (slices of the manifest, C); given, batches carry these instead of slices.
    """

    def __init__(
        self,
        folder: Path,
        classes: Sequence[str],
        split: str,
        fold: int,
        validation_fold: int | None,
        resize: Callable[[Tensor], Tensor],
        batch_size: int,
        workers: int,
        seed: int,
        features: NDArray[np.float32] | None = None,
    ) -> None:
        super().__init__()
        self.folder, self.classes = folder, list(classes)
        self.split, self.fold, self.validation_fold = split, fold, validation_fold
        self.resize, self.batch_size = resize, batch_size
        self.workers, self.seed, self.features = workers, seed, features

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002  Lightning's signature
        """Read manifest and split.

        Raises:
            DataError: a scan crosses the parts, a part is empty, or a label is unknown.
        """
        self.slices = read_manifest(self.folder)
        unknown = sorted(set(self.slices["label"]) - set(self.classes))
        if unknown:
            raise DataError(
                f"Expected labels among {self.classes}, but the manifest has {unknown}.",
                "Ingest again with data.classes that name every label.",
            )
        split = read_split(self.folder, self.split, self.slices)
        self.parts = parts_of(self.slices, split, self.fold, self.validation_fold)
        self.cache = open_cache(self.folder, self.slices)
        self.labels = self.slices["label"].map(self.classes.index).to_numpy(np.int64)

    def rows(self, part: str) -> NDArray[np.int64]:
        """Return the manifest's row numbers of a part."""
        return np.flatnonzero(self.parts.to_numpy() == part)

    def dataset(self, part: str) -> Dataset[Batch]:
        """Return the part's slices, or its features where these are given."""
        if self.features is not None:
            return FeatureDataset(self.features, self.rows(part), self.labels)
        return SliceDataset(self.cache, self.rows(part), self.labels, self.resize)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return shuffled batches; the order depends on seed and epoch alone."""
        dataset = self.dataset("train")
        ranks, rank = (
            (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        )
        # Lightning calls set_epoch, so a resumed run sees the same order as an undisturbed one.
        sampler: DistributedSampler[Batch] = DistributedSampler(
            dataset, ranks, rank, shuffle=True, seed=self.seed
        )
        return self._loader(dataset, sampler=sampler)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the validation part in the manifest's order."""
        return self._loader(self.dataset("val"))

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return the test part in the manifest's order."""
        return self._loader(self.dataset("test"))

    def _loader(
        self, dataset: Dataset[Batch], sampler: DistributedSampler[Batch] | None = None
    ) -> DataLoader[Batch]:
        workers = 0 if self.features is not None else self.workers
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
        )
