"""Sampling order of training: every scan counts the same, however many slices it has."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, DistributedSampler


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
