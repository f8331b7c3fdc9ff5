"""Cut-outs of all slices of a source, on disk once and mapped into memory.

Training draws a slice many times; the cut-out of the body is the same each time, as the graph makes
it, a little larger than what the network gets, so that zooming in loses nothing.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from kidney.data.lesions.records import (
    KIDNEY,
    STONE,
    SliceRecord,
    Source,
    SourceSlice,
    dump_records,
    load_records,
)
from kidney.errors import DataError
from kidney.files import whole_folder
from kidney.imaging.windows import ABDOMEN, MIN_HU, to_grey

LARGER = 300 / 256  # times the side of what the network gets: zooming in loses little
STONE_SHARE = 0.3  # of a pixel: a stone of half a millimetre would vanish at 0.5
_RECORDS, _IMAGES, _MASKS = "records.json", "images.bin", "masks.bin"
_VERSION = 1  # of what readers and this module make of the same files


@dataclass(frozen=True, eq=False)
class SliceStore:
    """The cut-outs of a source.

    Attributes:
        source: where they come from.
        name: of the folder: another one for other files, readers or settings.
        records: N.
        images: int16 (N, S, S): Hounsfield units, those from 0 to 255, or greys 0 to 255.
        masks: uint8 (N, S, S), values of kidney.data.lesions.records.
    """

    source: Source
    name: str
    records: list[SliceRecord]
    images: NDArray[np.int16]
    masks: NDArray[np.uint8]


# Slices (N, 1, H, W) -> regions (N, 4); then slices, regions, side -> cut-outs (N, 1, side, side).
# They come from kidney.models.prepare, which this part of the package may not import.
@dataclass(frozen=True)
class CutOut:
    """How the graph cuts the body out."""

    region: Any
    resize: Any

    def image(self, slice_: SourceSlice, size: int) -> tuple[NDArray[np.float32], torch.Tensor]:
        """Return the cut-out (size, size) of a slice and its region (1, 4) in pixels."""
        pixels = torch.from_numpy(np.ascontiguousarray(shown(slice_)))[None, None]
        region = self.region(pixels)
        if slice_.record.greys == "hu":  # outside the picture is air
            hu = torch.from_numpy(slice_.pixels.astype(np.float32))[None, None] - MIN_HU
            image = self.resize(hu, region, size) + MIN_HU
        else:
            image = self.resize(pixels, region, size)
        return image[0, 0].numpy(), region

    def mask(self, mask: NDArray[np.uint8], region: torch.Tensor, size: int) -> NDArray[np.uint8]:
        """Return the mask of a cut-out (size, size): the label with the largest share of a pixel.

        A pixel is background where less than half of it is drawn, but for stones.
        """
        found = np.zeros((size, size), np.uint8)
        best = np.zeros((size, size), np.float32)
        shares = {
            int(value): self.share(mask == value, region, size)
            for value in np.unique(mask)
            if value >= KIDNEY
        }
        drawn = np.sum(list(shares.values()), axis=0) if shares else best
        for value, share in shares.items():
            found[(share > best) & (drawn >= 0.5)] = value
            best = np.maximum(best, share)
        if STONE in shares:
            found[shares[STONE] >= STONE_SHARE] = STONE
        return found

    def share(
        self, drawn: NDArray[np.bool_], region: torch.Tensor, size: int
    ) -> NDArray[np.float32]:
        """Return which share of each place (size, size) of a region is drawn in bool (H, W)."""
        pixels = torch.from_numpy(drawn.astype(np.float32))[None, None]
        share: NDArray[np.float32] = self.resize(pixels, region, size)[0, 0].numpy()
        return share


def shown(slice_: SourceSlice) -> NDArray[np.uint8]:
    """Return the slice uint8 (H, W) as the graph gets it: Hounsfield units through a window."""
    if slice_.record.greys == "hu":
        return to_grey(slice_.pixels, ABDOMEN)
    return slice_.pixels.astype(np.uint8)


def open_store(
    source: Source, folder: Path, cache: Path, cut_out: CutOut, image_size: int
) -> SliceStore:
    """Return the cut-outs of a source, made where they are missing.

    Args:
        source: what to read.
        folder: holds its files.
        cache: where the store lies, in a folder of its own named by all that it depends on.
        cut_out: how the body is cut out.
        image_size: side in pixels of what the network gets.

    Raises:
        DataError: the source cannot be read, or has no slices.
    """
    size = round(image_size * LARGER)
    path = cache / f"slices-{source.name}-{_digest(source, folder, size)}"
    if not path.is_dir():
        slices = tqdm(source.slices(folder, cache, lambda _: True), desc=source.name, unit="slice")
        with whole_folder(path) as temporary:
            _write(temporary, slices, cut_out, source.name, size)
    records = load_records((path / _RECORDS).read_bytes(), str(path))
    shape = (len(records), size, size)
    return SliceStore(
        source,
        path.name,
        records,
        np.memmap(path / _IMAGES, np.int16, "r", shape=shape),
        np.memmap(path / _MASKS, np.uint8, "r", shape=shape),
    )


def _write(
    folder: Path, slices: Iterable[SourceSlice], cut_out: CutOut, name: str, size: int
) -> None:
    records = []
    with (folder / _IMAGES).open("wb") as images, (folder / _MASKS).open("wb") as masks:
        for slice_ in slices:
            image, region = cut_out.image(slice_, size)
            images.write(np.rint(image).astype(np.int16).tobytes())
            masks.write(cut_out.mask(slice_.mask, region, size).tobytes())
            records.append(slice_.record)
    if not records:
        raise DataError(
            f"Expected slices in the source {name}, but it has none.", "Check its files."
        )
    (folder / _RECORDS).write_bytes(dump_records(records))


def _digest(source: Source, folder: Path, size: int) -> str:
    """Return 10 hexadecimal digits of what a store is made from: files, reader, this version."""
    keywords = getattr(source.read, "keywords", {})
    name = getattr(getattr(source.read, "func", source.read), "__name__", "")
    files = {
        role: [
            (name, (folder / name).stat().st_size, (folder / name).stat().st_mtime_ns)
            for name in names
        ]
        for role, names in source.files.items()
    }
    pools = sorted(source.pools)
    key = json.dumps([_VERSION, size, name, keywords, files, pools], sort_keys=True)
    return hashlib.sha256(key.encode()).hexdigest()[:10]
