"""The out-of-distribution score of a classifier: fitted on training slices, put to test."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from kidney.data.datamodule import KidneyDataModule
from kidney.data.ood_sets import read_outsiders, synthetic_outsiders
from kidney.evaluation.metrics.bootstrap import Interval
from kidney.evaluation.metrics.ood import Scored, ood_figures
from kidney.models.classifier import KidneyClassifier
from kidney.training.predict import described_of

PER_SCAN = 8  # neighbouring slices say little more: all 40 of them moved no AUROC by 0.01

Grey = NDArray[np.uint8]
Score = Callable[[Sequence[Grey]], NDArray[np.floating]]


def fit_ood(classifier: KidneyClassifier, data: KidneyDataModule, rows: NDArray[np.int64]) -> None:
    """Fit `classifier.ood` on slices that it was trained on, of which up to PER_SCAN a scan.

    Args:
        classifier: trained; its backbone must not change any more.
        data: after its setup, with images or with features of this backbone.
        rows: of the manifest.
    """
    scans = data.slices["scan"].to_numpy(str)
    chosen = rows[spread_rows(scans[rows], PER_SCAN)]
    dataset = data.plain(chosen)
    device = _device()
    classifier.eval().to(device)
    with torch.inference_mode():
        described = [
            described_of(classifier, batch, device).float().cpu().numpy()
            for batch in DataLoader(dataset, data.batch_size)
        ]
    classifier.ood.fit(np.concatenate(described), scans[chosen].tolist())


def spread_rows(scans: NDArray[np.str_], most: int) -> NDArray[np.int64]:
    """Return row numbers in order: of each scan at most `most` rows, evenly spread over it."""
    chosen = []
    for scan in np.unique(scans):
        rows = np.flatnonzero(scans == scan)
        places = np.linspace(0, len(rows) - 1, min(most, len(rows)))
        chosen.append(rows[np.rint(places).astype(np.int64)])
    return np.sort(np.concatenate(chosen))


def ood_scores(classifier: KidneyClassifier, slices: Sequence[Grey]) -> NDArray[np.float32]:
    """Return the scores float32 (N,) of slices uint8 (H, W) of any sizes."""
    device = _device()
    classifier.eval().to(device)
    with torch.inference_mode():
        scores = [
            float(classifier(torch.from_numpy(np.array(slice_))[None, None].to(device)).ood_score)
            for slice_ in slices
        ]
    return np.array(scores, dtype=np.float32)


def measure_ood(
    score: Score,
    said: pd.DataFrame,
    slices: Sequence[Grey],
    above: float,
    places: Mapping[str, Path],
) -> dict[str, Interval]:
    """Try a classifier or an artifact on pictures that are no kidney CT.

    Args:
        score: slices (H, W) -> scores (N,).
        said: a row for each slice of kidney CT that nothing was fitted on, with `scan` and
            `ood_score`.
        slices: these slices in the same order.
        above: scores above it are refused.
        places: kind -> folder or archive of such pictures, "photograph" for example.

    Returns:
        What `ood_figures` returns, for noise, flat, inverted, thorax and the kinds of `places`.
    """
    scans = said["scan"].to_numpy(str)
    kinds = synthetic_outsiders(slices, scans.tolist())
    kinds |= {kind: read_outsiders(path) for kind, path in places.items()}
    others = {
        kind: Scored(score(found.slices), np.array(found.groups)) for kind, found in kinds.items()
    }
    own = Scored(said["ood_score"].to_numpy(np.float64), scans)
    return ood_figures(own, others, above)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
