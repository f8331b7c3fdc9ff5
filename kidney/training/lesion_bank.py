"""Augmented slices and what the frozen first blocks make of them, computed once for all trainings.

Stem and first stages of the encoder never change, so folds, trials and the final training share
their maps; a training step then costs half, and drawing and decoding nothing. The bank is a folder
of shards. Each depends on its number alone, so that several processes fill it in any order, and one
that was stopped goes on where it was.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed  # type: ignore[import-untyped]
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from kidney.data.lesions.dataset import LesionDataset, TrainingItem
from kidney.files import whole_file
from kidney.models.lesion_net import LesionEncoder

SHARD = 128  # slices a file
_BATCH = 16
_TRUNK = "trunk "  # before the number of a map, in shards and batches
_VERSION = 3  # of what is done to a slice, in the names of banks
_SCALE = 255  # targets and known places are kept as bytes


@dataclass(frozen=True, eq=False)
class Bank:
    """Rows of all shards of a bank, those that a training may see.

    Attributes:
        shards: open files.
        rows: int64 (N, 2), shard and row of each slice.
    """

    shards: Sequence[dict[str, Tensor]]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, chosen: NDArray[np.int64]) -> dict[str, Tensor]:
        """Return slices as float32: "trunk 0" and so on (N, c, h, w), the maps of the trunk;
        "target" and "known" (N, 4, s, s); "present" (N, 4).
        """
        found: dict[str, Tensor] = {}
        for name in (*trunk_names(self.shards[0]), "target", "known", "present"):
            values = [self.shards[shard][name][row] for shard, row in self.rows[chosen]]
            found[name] = torch.stack(values).float()
        for name in ("target", "known"):
            found[name] /= _SCALE
        return found


def trunk_names(found: Iterable[str]) -> list[str]:
    """Return the names of the maps of the trunk, in their order."""
    return sorted(name for name in found if name.startswith(_TRUNK))


def fill_bank(
    dataset: LesionDataset,
    encoder: LesionEncoder,
    folder: Path,
    count: int,
    seed: int,
    processes: int,
) -> list[Path]:
    """Compute the shards that are missing.

    Args:
        dataset: draws the slices.
        encoder: with pretrained weights.
        folder: where the shards go; see `bank_name`.
        count: of slices, rounded up to whole shards.
        seed: of the draws.
        processes: how many compute, of one torch thread each: two threads of one process wait for
            each other at every layer, and on a busy machine cost ten times what they save.

    Returns:
        The paths of the shards.
    """
    paths = [folder / f"shard-{number:04d}.safetensors" for number in range(-(-count // SHARD))]
    missing = [number for number, path in enumerate(paths) if not path.is_file()]
    if missing:
        jobs = (
            delayed(_write_shard)(dataset, encoder, paths[number], [seed, number])
            for number in missing
        )
        done = Parallel(processes, return_as="generator_unordered")(jobs)
        for _ in tqdm(done, desc="Bank", total=len(missing), unit="shard"):
            pass
    return paths


def bank_name(dataset: LesionDataset, stores: Sequence[str], weights: str, seed: int) -> str:
    """Name the folder of a bank by all that its slices depend on.

    Their number is no part of it: a larger bank begins with the smaller one.

    Args:
        dataset: draws the slices.
        stores: names of the folders of the cut-outs.
        weights: identity of the encoder's weights.
        seed: of the draws.
    """
    pools = [(pool.source, pool.name, pool.share) for pool in dataset.pools]
    key = json.dumps([_VERSION, dataset.size, dataset.folds, pools, list(stores), weights, seed])
    return f"bank-{hashlib.sha256(key.encode()).hexdigest()[:10]}"


def open_bank(paths: Sequence[Path], fold: int | None, without: int) -> Bank:
    """Open shards for a training.

    Args:
        paths: of the shards.
        fold: slices that hold pixels of its patients are left out; None: none are.
        without: bits of sources; slices that hold pixels of theirs are left out.
    """
    shards, rows = [], []
    for number, path in enumerate(paths):
        with safe_open(path, "pt") as file:
            shard = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        seen = (shard["sources"] & without) == 0
        if fold is not None:
            seen &= ((shard["folds"] >> fold) & 1) == 0
        kept = torch.nonzero(seen)[:, 0].numpy()
        rows.append(np.column_stack([np.full(len(kept), number), kept]))
        shards.append(shard)
    return Bank(shards, np.concatenate(rows).astype(np.int64))


def _write_shard(
    dataset: LesionDataset, encoder: LesionEncoder, path: Path, seed: Sequence[int]
) -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(list(seed))
    parts = [_computed(batch, encoder) for batch in _drawn(dataset, rng)]
    with whole_file(path) as temporary:
        save_file({name: torch.cat([part[name] for part in parts]) for name in parts[0]}, temporary)


def _drawn(dataset: LesionDataset, rng: np.random.Generator) -> Iterator[list[TrainingItem]]:
    for start in range(0, SHARD, _BATCH):
        yield [dataset.draw(rng) for _ in range(min(_BATCH, SHARD - start))]


def _computed(items: Sequence[TrainingItem], encoder: LesionEncoder) -> dict[str, Tensor]:
    images = torch.stack([item.image for item in items])
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        trunk = encoder.forward_trunk(images)
    return {
        **{f"{_TRUNK}{at}": maps.bfloat16().contiguous().clone() for at, maps in enumerate(trunk)},
        "target": _bytes([item.target for item in items]),
        "known": _bytes([item.known for item in items]),
        "present": torch.stack([item.present for item in items]),
        "folds": torch.tensor([item.folds for item in items]),
        "sources": torch.tensor([item.sources for item in items]),
        "pool": torch.tensor([item.pool for item in items]),
    }


def _bytes(values: Sequence[Tensor]) -> Tensor:
    return (torch.stack(list(values)) * _SCALE).round().byte()
