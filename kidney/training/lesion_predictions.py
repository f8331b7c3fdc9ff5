"""What a lesion network makes of the slices of all sources: maps, embeddings and the truth beside.

Slices are read from their files again and go the way of the exported graph, so that what is
measured is what is served. A training keeps them in a file, and tables are computed from files.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from kidney.data.lesions.records import (
    CHANNELS,
    SliceRecord,
    Source,
    SourceSlice,
    dump_records,
    load_records,
)
from kidney.data.lesions.store import CutOut, shown
from kidney.files import whole_file
from kidney.imaging.appearance import thumbnail
from kidney.models.lesion_classifier import LESIONS, LesionClassifier, lesion_maps
from kidney.models.prepare import body_region, cut_out

CUT_OUT = CutOut(body_region, cut_out)
_BATCH = 16
_LEAST_DRAWN = 1e-6


@dataclass(frozen=True, eq=False)
class LesionPredictions:
    """Predictions for N slices and what is known of them; h = w = S / 4.

    Attributes:
        records: of the slices.
        shapes: int32 (N, 2), height and width of the slices in pixels.
        thumbnails: uint8 (N, 96, 96), of the slices.
        regions: float32 (N, 4): top, left, bottom, right in pixels, where the maps lie.
        embeddings: float32 (N, D).
        kidney: float16 (N, h, w), logits of the finder.
        lesions: float16 (N, 3, h, w), gated logits of LESIONS.
        drawn: uint8 (N, 4, h, w), 255 times the share of each place that masks draw of CHANNELS;
            the kidney includes its lesions.
    """

    records: Sequence[SliceRecord]
    shapes: NDArray[np.int32]
    thumbnails: NDArray[np.uint8]
    regions: NDArray[np.float32]
    embeddings: NDArray[np.float32]
    kidney: NDArray[np.float16]
    lesions: NDArray[np.float16]
    drawn: NDArray[np.uint8]

    @property
    def patients(self) -> NDArray[np.str_]:
        """(N,)."""
        return np.array([record.patient for record in self.records], dtype=np.str_)

    @property
    def sources(self) -> NDArray[np.str_]:
        """(N,)."""
        return np.array([record.source for record in self.records], dtype=np.str_)

    @property
    def values(self) -> NDArray[np.float32]:
        """(N, 3), the soft maxima of LESIONS."""
        return self.embeddings[:, : len(LESIONS)]

    def truth(self) -> NDArray[np.float32]:
        """Return (N, 3): 1 where a slice shows each of LESIONS, 0 where not, NaN where unknown.

        A finding is absent only where its truth is known at all places. A class label counts for
        the others as well: each slice of the public set was chosen for one finding.
        """
        truth = np.full((len(self.records), len(LESIONS)), np.nan, np.float32)
        for row, record in enumerate(self.records):
            for number, name in enumerate(LESIONS):
                channel = CHANNELS.index(name)
                if self.drawn[row, channel].any() or name in record.present:
                    truth[row, number] = 1
                elif record.known[channel] == "all" or record.label:
                    truth[row, number] = 0
        return truth

    def of(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> "LesionPredictions":
        """Return some rows."""
        chosen = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        arrays = {name: getattr(self, name)[chosen] for name in _ARRAYS}
        return replace(self, records=[self.records[int(row)] for row in chosen], **arrays)


_ARRAYS = ("shapes", "thumbnails", "regions", "embeddings", "kidney", "lesions", "drawn")


def predict_sources(
    classifier: LesionClassifier,
    sources: Sequence[Source],
    folder: Path,
    cache: Path,
    wanted: frozenset[tuple[str, str]],
    patients: frozenset[str],
) -> LesionPredictions:
    """Predict slices of several sources.

    Args:
        classifier: in evaluation mode.
        sources: which to read.
        folder: holds their files.
        cache: where archives are unpacked.
        wanted: source and path of the slices.
        patients: of these slices; those of others are not decoded.
    """
    parts: list[LesionPredictions] = []
    with tqdm(total=len(wanted), desc="Predict", unit="slice") as bar:
        for source in sources:
            slices = source.slices(folder, cache, lambda patient: patient in patients)
            chosen = (one for one in slices if (source.name, one.record.path) in wanted)
            for batch in _batches(chosen):
                parts.append(_predict(classifier, batch))
                bar.update(len(batch))
    return concatenate(parts)


def concatenate(parts: Sequence[LesionPredictions]) -> LesionPredictions:
    """Put predictions one after the other."""
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS}
    return LesionPredictions([record for part in parts for record in part.records], **arrays)


def save_predictions(predictions: LesionPredictions, path: Path) -> None:
    """Write predictions as an .npz without pickles."""
    records = np.frombuffer(dump_records(predictions.records), np.uint8)
    arrays = {name: getattr(predictions, name) for name in _ARRAYS}
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, records=records, **arrays)


def load_predictions(path: Path) -> LesionPredictions:
    """Read what `save_predictions` wrote."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in _ARRAYS}
        return LesionPredictions(load_records(file["records"].tobytes(), str(path)), **arrays)


def spread(count: int, most: int) -> NDArray[np.int64]:
    """Return at most `most` of `count` places, evenly spread from the first to the last."""
    places = np.linspace(0, count - 1, min(most, count)).round()
    return np.unique(places).astype(np.int64)


def _batches(slices: Iterator[SourceSlice]) -> Iterator[list[SourceSlice]]:
    batch: list[SourceSlice] = []
    for slice_ in slices:
        batch.append(slice_)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _predict(classifier: LesionClassifier, batch: Sequence[SourceSlice]) -> LesionPredictions:
    size = classifier.image_size
    pixels = [torch.from_numpy(np.ascontiguousarray(shown(one)))[None, None] for one in batch]
    with torch.inference_mode():
        regions = [body_region(one) for one in pixels]
        images = [cut_out(one, region, size) for one, region in zip(pixels, regions, strict=True)]
        prepared = torch.cat(images)
        features, logits = classifier.forward_features(prepared)
        embeddings = classifier.embed_maps(prepared, features, logits)
        lesions = lesion_maps(logits)
        cells = logits.shape[2]
        drawn = [
            _drawn(one.mask, region, cells) for one, region in zip(batch, regions, strict=True)
        ]
    return LesionPredictions(
        records=[one.record for one in batch],
        shapes=np.array([one.mask.shape for one in batch], np.int32),
        thumbnails=np.stack([thumbnail(np.ascontiguousarray(shown(one))) for one in batch]),
        regions=torch.cat(regions).numpy(),
        embeddings=embeddings.numpy(),
        kidney=logits[:, 0].half().numpy(),
        lesions=lesions.half().numpy(),
        drawn=np.stack(drawn),
    )


def _drawn(mask: NDArray[np.uint8], region: Tensor, cells: int) -> NDArray[np.uint8]:
    """Return 255 times the share of each place that is drawn of CHANNELS, (4, cells, cells)."""
    shares = np.zeros((len(CHANNELS), cells, cells), np.float32)
    for channel in range(len(CHANNELS)):
        drawn = mask > 0 if channel == 0 else mask == channel + 1
        if drawn.any():
            shares[channel] = CUT_OUT.share(drawn, region, cells)
    # A stone of one pixel is a small share of a place, and still there.
    bytes_: NDArray[np.uint8] = np.ceil(np.clip(shares - _LEAST_DRAWN, 0, 1) * 255).astype(np.uint8)
    return bytes_
