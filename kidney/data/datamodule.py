"""The slices of a split as batches."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler

from kidney.data.cache import SliceCache, open_cache
from kidney.data.split import Split, parts_of
from kidney.errors import DataError

Batch = dict[str, Tensor]


class SliceDataset(Dataset[Batch]):
    """Images of slices, all of one size, so that they can share a batch.

    Args:
        labels: class index of every row of the manifest.
        prepare: uint8 (1, 1, H, W) -> float (1, 1, S, S), the function that the model itself
            begins with.
    """

    def __init__(
        self,
        cache: SliceCache,
        rows: NDArray[np.int64],
        labels: NDArray[np.int64],
        prepare: Callable[[Tensor], Tensor],
    ) -> None:
        self._cache, self._rows, self._labels, self._prepare = cache, rows, labels, prepare

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Batch:
        """Return images float32 (1, S, S) in 0..255 and label int64 ()."""
        row = int(self._rows[index])
        slice_ = torch.from_numpy(np.array(self._cache[row]))
        return {
            "images": self._prepare(slice_[None, None])[0],
            "labels": torch.tensor(self._labels[row]),
        }


class FeatureDataset(Dataset[Batch]):
    """Features that the frozen part of a network computed of slices.

    Args:
        features: arrays (slices of the manifest, ...) of any float type: the features of the slices
            as they are, then of each augmentation.
        rows: which slices, in order. Item i is slice i of the first array; the others follow.
        labels: class index of every row of the manifest.
    """

    def __init__(
        self,
        features: Sequence[NDArray[np.floating]],
        rows: NDArray[np.int64],
        labels: NDArray[np.int64],
    ) -> None:
        self._features, self._rows, self._labels = features, rows, labels

    def __len__(self) -> int:
        return len(self._features) * len(self._rows)

    def __getitem__(self, index: int) -> Batch:
        """Return features float32 (C,) or maps float32 (C, h, w), and label int64 ()."""
        augmentation, item = divmod(index, len(self._rows))
        row = self._rows[item]
        return {
            "features": torch.from_numpy(self._features[augmentation][row].astype(np.float32)),
            "labels": torch.tensor(self._labels[row]),
        }


class KidneyDataModule(pl.LightningDataModule):
    """Manifest, split and slice cache of one data folder, for Lightning.

    Args:
        classes: class names in the order of the model's outputs.
        features: see FeatureDataset; given, batches carry these instead of images. Training sees
            all of them, validation and test the first.
    """

    def __init__(
        self,
        folder: Path,
        slices: pd.DataFrame,
        classes: Sequence[str],
        split: Split,
        fold: int,
        validation_fold: int | None,
        prepare: Callable[[Tensor], Tensor],
        batch_size: int,
        num_workers: int,
        seed: int,
        slices_per_scan: int,
        features: Sequence[NDArray[np.floating]] | None = None,
    ) -> None:
        super().__init__()
        self.folder, self.slices, self.classes = folder, slices, list(classes)
        self.split, self.fold, self.validation_fold = split, fold, validation_fold
        self.prepare, self.batch_size = prepare, batch_size
        self.num_workers, self.seed = num_workers, seed
        self.slices_per_scan, self.features = slices_per_scan, features

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002  Lightning's signature
        """Assign the slices to parts and open their cache.

        Raises:
            DataError: a scan crosses the parts, a part is empty, or a label is unknown.
        """
        unknown = sorted(set(self.slices["label"]) - set(self.classes))
        if unknown:
            raise DataError(
                f"Expected labels among {self.classes}, but the manifest has {unknown}.",
                "Ingest again with data.classes that name every label.",
            )
        self.parts = parts_of(self.slices, self.split, self.fold, self.validation_fold)
        self.cache = open_cache(self.folder, self.slices)
        self.labels = self.slices["label"].map(self.classes.index).to_numpy(np.int64)

    def rows(self, *parts: str) -> NDArray[np.int64]:
        """Return the manifest's row numbers of a part, or of several."""
        return np.flatnonzero(self.parts.isin(parts))

    def dataset(self, part: str) -> Dataset[Batch]:
        """Return a part's slices, or features where these are given; training has all of them."""
        if part == "train" and self.features is not None:
            return FeatureDataset(self.features, self.rows(part), self.labels)
        return self.plain(self.rows(part))

    def plain(self, rows: NDArray[np.int64]) -> Dataset[Batch]:
        """Return slices of the manifest as they are, or their features where these are given."""
        if self.features is None:
            return SliceDataset(self.cache, rows, self.labels, self.prepare)
        return FeatureDataset(self.features[:1], rows, self.labels)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return batches in which all scans count the same; seed and epoch alone decide them."""
        dataset = self.dataset("train")
        ranks, rank = (
            (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        )
        copies = 1 if self.features is None else len(self.features)
        scans = np.tile(self.slices["scan"].to_numpy()[self.rows("train")], copies)
        # Lightning calls set_epoch, so a resumed run sees the same order as an undisturbed one.
        sampler = ScanSampler(dataset, scans, self.slices_per_scan, ranks, rank, self.seed)
        # One slice alone has no spread to be normalised by.
        return self._loader(dataset, sampler=sampler, drop_last=len(sampler) > self.batch_size)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the validation part in the manifest's order."""
        return self._loader(self.dataset("val"))

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return the test part in the manifest's order."""
        return self._loader(self.dataset("test"))

    def _loader(
        self,
        dataset: Dataset[Batch],
        sampler: Sampler[int] | None = None,
        drop_last: bool = False,
    ) -> DataLoader[Batch]:
        num_workers = 0 if self.features is not None else self.num_workers
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            drop_last=drop_last,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )


class ScanSampler(DistributedSampler[int]):
    """Draw equally many slices of every scan in each epoch.

    Neighbouring slices are near copies, and a long scan must not outweigh a short one.

    Args:
        slices_per_scan: drawn each epoch; a scan with fewer is repeated.
        seed: the order depends on it and on the epoch alone.
    """

    def __init__(
        self,
        dataset: Dataset[dict[str, torch.Tensor]],
        scans: Sequence[str] | NDArray[np.str_],
        slices_per_scan: int,
        ranks: int,
        rank: int,
        seed: int,
    ) -> None:
        super().__init__(dataset, ranks, rank, shuffle=True, seed=seed)
        _, number = np.unique(np.asarray(scans), return_inverse=True)
        self._items = [np.flatnonzero(number == scan) for scan in range(number.max() + 1)]
        self._slices_per_scan = slices_per_scan
        self.num_samples = -(-len(self._items) * slices_per_scan // ranks)
        self.total_size = self.num_samples * ranks

    def __iter__(self) -> Iterator[int]:
        """Yield this rank's items; Lightning calls set_epoch before."""
        generator = np.random.default_rng([self.seed, self.epoch])
        drawn = np.concatenate([self._draw(items, generator) for items in self._items])
        order = generator.permutation(drawn)
        every = np.resize(order, self.total_size)  # the last rank begins again at the first
        return iter(every[self.rank :: self.num_replicas].tolist())

    def _draw(self, items: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
        """Draw `slices_per_scan` items, each once before any comes twice."""
        rounds = -(-self._slices_per_scan // len(items))
        mixed = [generator.permutation(items) for _ in range(rounds)]
        return np.concatenate(mixed)[: self._slices_per_scan]
