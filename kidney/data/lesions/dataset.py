"""Augmented training slices of several sources with targets, balanced by source, class and patient.

A pool is drawn by its share, then a patient of it, then a slice of the patient: a hospital with
many slices counts no more than its share, and a patient with many no more than another.
"""

import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from torch import Tensor

from kidney.data.lesions.augment import (
    Image,
    Mask,
    degrade,
    kidney_phase,
    rewindow,
    warp,
    window_clipped,
    window_hu,
    without_contrast,
)
from kidney.data.lesions.decoys import add_arms, add_decoys, erase_kidneys
from kidney.data.lesions.paste import Donors, DonorSlice, paste_lesions
from kidney.data.lesions.records import CHANNELS, CYST, KIDNEY, STONE, TUMOR, SliceRecord
from kidney.data.lesions.store import SliceStore
from kidney.errors import DataError
from kidney.imaging.windows import ABDOMEN, to_grey

STRIDE = 4  # pixels a side of a place of the targets
_PLAIN = 0.3  # share of enhanced slices with masks that are shown as before contrast
_OTHER_PHASE = 0.35  # share of the rest whose kidneys get another contrast phase
_PASTED, _PASTED_HEALTHY = 0.4, 0.6  # shares of slices with and without a lesion that get more
_ERASED, _ERASED_HEALTHY = 0.15, 0.25  # shares of them that lose a kidney or all of them
_DECOYS = 0.4  # share of slices with masks, or of pictures without a kidney, that get decoys
_ARMS, _ARMS_ZOOM = 0.06, (0.55, 0.85)  # share of slices shown small, with arms beside the body
_ZOOM = (0.78, 1.45)  # of the others
_SERVED_ZOOM = (0.9, 1.15)  # of sources that are shown as served
_REWINDOWED = 0.25  # share of windowed Hounsfield units that are windowed again, as pictures are
_STONE_TARGET = 0.7  # least target of a place that a stone touches: it fills a place hardly ever
_LEAST_KNOWN = 0.99  # share of a place whose truth must be known


class TrainingItem(NamedTuple):
    """One augmented slice.

    Attributes:
        image: float32 (1, S, S), greys 0..255.
        target: float32 (4, s, s) with s = S / STRIDE: share of each place that is kidney or lesion,
            tumour, cyst, stone.
        known: float32 (4, s, s): 1 where the target is the truth, else 0.
        present: float32 (4,): 1 where a label says that the slice shows the channel somewhere.
        folds: bit k is set where pixels of a patient of fold k are in it.
        sources: bit k is set where pixels of source k are in it.
        pool: index of the pool.
    """

    image: Tensor
    target: Tensor
    known: Tensor
    present: Tensor
    folds: int
    sources: int
    pool: int


@dataclass(frozen=True)
class Pool:
    """Slices of a source that are drawn alike: rows by patient, and its share of the training."""

    source: str
    name: str
    share: float
    store: int
    patients: Sequence[Sequence[int]]


class LesionDataset:
    """Draws augmented slices from the stores of several sources.

    Args:
        stores: of the sources.
        size: side S of a slice in pixels, a multiple of 32.
        folds: in how many folds the patients of each source are dealt.

    Attributes:
        pools: those with a share above 0 and slices.
        fold_of: for each store patient -> fold, 0 to folds - 1; empty where they are in none.

    Raises:
        DataError: no pool has slices.
    """

    def __init__(self, stores: Sequence[SliceStore], size: int, folds: int) -> None:
        self.stores, self.size, self.folds = stores, size, folds
        self.fold_of = [
            assign_folds(store.records, folds, store.source.name) if store.source.in_folds else {}
            for store in stores
        ]
        self.pools = [pool for at, store in enumerate(stores) for pool in _pools(at, store)]
        if not self.pools:
            raise DataError(
                "Expected slices to train on, but no source has a pool with a share above 0.",
                "Raise a share in sources.NAME.pools.",
            )
        shares = np.array([pool.share for pool in self.pools])
        self._shares = shares / shares.sum()
        self._donors = _donors(stores)

    def draw(self, rng: np.random.Generator) -> TrainingItem:
        """Draw a pool, a patient and a slice, and augment it."""
        number = int(rng.choice(len(self.pools), p=self._shares))
        patients = self.pools[number].patients
        rows = patients[int(rng.integers(len(patients)))]
        return self.item(number, rows[int(rng.integers(len(rows)))], rng)

    def item(self, pool: int, row: int, rng: np.random.Generator) -> TrainingItem:
        """Augment one slice of a pool.

        Args:
            pool: index of the pool.
            row: of the slice in its store.
            rng: of the draws.
        """
        store = self.stores[self.pools[pool].store]
        record = store.records[row]
        as_served = store.source.as_served
        arms = not as_served and rng.random() < _ARMS
        pixels, labels = store.images[row].astype(np.float32), np.asarray(store.masks[row])
        zoom = _SERVED_ZOOM if as_served else _ARMS_ZOOM if arms else _ZOOM
        image, mask = warp(pixels, labels, self.size, rng, zoom)
        drawn: NDArray[np.bool_] = np.zeros(mask.shape, np.bool_)
        used: list[DonorSlice] = []
        if store.source.pastes and record.greys != "picture":
            image, mask, drawn, used = self._mixed(image, mask, record, rng)
        elif record.greys == "picture" and record.pool == "free" and rng.random() < _DECOYS:
            image, _ = add_decoys(image, mask, None, rng)
        if as_served:
            image = to_grey(image, ABDOMEN).astype(np.float32)
        else:
            image = _windowed(image, record, rng)
            image = degrade(add_arms(image, rng) if arms else image, rng)
        target, known = targets(mask, drawn, record)
        present = torch.tensor([float(name in record.present) for name in CHANNELS])
        slices = [(self.pools[pool].store, row), *((one.store, one.row) for one in used)]
        return TrainingItem(
            torch.from_numpy(np.ascontiguousarray(image, np.float32))[None],
            target, known, present,
            folds=self._fold_bits(slices),
            sources=sum(1 << at for at in {at for at, _ in slices}),
            pool=pool,
        )  # fmt: skip

    def _mixed(
        self, image: Image, mask: Mask, record: SliceRecord, rng: np.random.Generator
    ) -> tuple[Image, Mask, NDArray[np.bool_], list[DonorSlice]]:
        """Change the contrast phase of a slice in HU with a mask, erase kidneys, paste lesions."""
        used: list[DonorSlice] = []
        plain = rng.random() < _PLAIN
        if plain:
            image = without_contrast(image, rng)
        if (mask == KIDNEY).any() and (plain or rng.random() < _OTHER_PHASE):
            image = kidney_phase(image, mask, rng, plain)
        if record.known[0] == "all" and mask.any():
            share = _ERASED if (mask > KIDNEY).any() else _ERASED_HEALTHY
            if rng.random() < share:
                image, mask, donor = erase_kidneys(image, mask, self._donors, rng)
                used += [donor] if donor is not None else []
        if record.known[0] == "all" and rng.random() < _DECOYS:
            image, donors = add_decoys(image, mask, self._donors, rng)
            used += donors
        share = _PASTED if (mask > KIDNEY).any() else _PASTED_HEALTHY
        count = int(rng.integers(1, 3)) if rng.random() < share else 0
        pasted = paste_lesions(image, mask, count, self._donors, rng)
        return pasted.image, pasted.mask, pasted.drawn, [*used, *pasted.donors]

    def _fold_bits(self, slices: Sequence[tuple[int, int]]) -> int:
        bits = 0
        for store, row in slices:
            fold = self.fold_of[store].get(self.stores[store].records[row].patient)
            bits |= 0 if fold is None else 1 << fold
        return bits


def targets(mask: Mask, drawn: NDArray[np.bool_], record: SliceRecord) -> tuple[Tensor, Tensor]:
    """Return target and known places (4, s, s) of a mask, see TrainingItem.

    Args:
        mask: uint8 (S, S), of the slice as it is shown.
        drawn: bool (S, S), lesions that were pasted: all is known of them.
        record: what is known of the slice.
    """
    channels = np.stack([mask > 0, mask == TUMOR, mask == CYST, mask == STONE])
    certain = {
        "all": np.ones_like(channels),
        "drawn": channels,
        "outside": (mask != KIDNEY)[None] | drawn[None] | np.zeros_like(channels),
        "none": np.zeros_like(channels),
    }
    known = np.stack([certain[how][at] for at, how in enumerate(record.known)])
    target = _coarse(channels)
    touched = nnf.max_pool2d(torch.from_numpy(channels[None, 3:].astype(np.float32)), STRIDE)[0]
    target[3:] = torch.maximum(target[3:], _STONE_TARGET * touched)
    return target, (_coarse(known) > _LEAST_KNOWN).float()


def _coarse(channels: NDArray[np.bool_]) -> Tensor:
    return nnf.avg_pool2d(torch.from_numpy(channels.astype(np.float32))[None], STRIDE)[0]


def _windowed(image: Image, record: SliceRecord, rng: np.random.Generator) -> Image:
    """Show a slice through a random window, as greys 0..255."""
    if record.greys == "hu_0_255":
        return window_clipped(image, rng)
    if record.greys == "hu":
        image = window_hu(image, rng)
        return rewindow(image, rng) if rng.random() < _REWINDOWED else image
    return rewindow(image, rng)


def assign_folds(records: Sequence[SliceRecord], folds: int, source: str) -> dict[str, int]:
    """Deal the patients of a source into folds, always alike, and those of one finding evenly.

    Args:
        records: of the source.
        folds: how many.
        source: its name, from which the order comes.

    Returns:
        Patient -> fold, 0 to folds - 1.
    """
    finding: dict[str, set[str]] = defaultdict(set)
    for record in records:
        finding[record.patient].add(record.label)
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for patient in sorted(finding):
        groups[tuple(sorted(finding[patient]))].append(patient)
    rng = np.random.default_rng(zlib.crc32(source.encode()))
    fold: dict[str, int] = {}
    for group in sorted(groups):
        for place, number in enumerate(rng.permutation(len(groups[group]))):
            fold[groups[group][number]] = place % folds
    return fold


def _by_patient(store: SliceStore, pool: str) -> list[list[int]]:
    """Return the rows of a pool, by patient."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, record in enumerate(store.records):
        if record.pool == pool:
            rows[record.patient].append(row)
    return list(rows.values())


def _pools(at: int, store: SliceStore) -> list[Pool]:
    pools = []
    for name, share in store.source.pools.items():
        rows = _by_patient(store, name)
        if share > 0 and rows:
            pools.append(Pool(store.source.name, name, share, at, rows))
    return pools


def _donors(stores: Sequence[SliceStore]) -> Donors:
    """Collect the slices whose tumours and healthy kidneys are pasted; nothing is read yet."""
    found: dict[str, list[list[DonorSlice]]] = {"tumor": [], "kidney": [], "other": []}
    for at, store in enumerate(stores):
        if not store.source.pastes:
            continue
        for pool in ("tumor", "kidney"):
            found[pool] += [
                [DonorSlice(store.images[row], store.masks[row], at, row) for row in rows]
                for rows in _by_patient(store, pool)
            ]
        others: dict[str, list[DonorSlice]] = defaultdict(list)
        for row, record in enumerate(store.records):
            if record.known[0] == "all":
                one = DonorSlice(store.images[row], store.masks[row], at, row)
                others[record.patient].append(one)
        found["other"] += list(others.values())
    return Donors(found["tumor"], found["kidney"], found["other"])
