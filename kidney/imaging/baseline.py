"""What the slices of a set look like on the whole: the yardstick for drift.

The model card carries the baseline of the training slices; a server that makes the same summary of
what it is sent can tell whether these still look alike.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kidney.imaging.appearance import ENHANCED_FROM, THUMBNAIL_SIDE, VIEWS, appearance

GREY_BINS = 16  # of 16 greys each
_GRID = 8
_QUANTILES = np.linspace(0, 1, 11)


def baseline(thumbnails: NDArray[np.uint8], shapes: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Summarise slices.

    Args:
        thumbnails: uint8 (N, 96, 96), one slice or more.
        shapes: (height, width) of the slices in pixels.

    Returns:
        Plain numbers and lists, ready for JSON:
        slices: N.
        grey: share of the pixels in 16 equal steps of grey.
        sizes: "WIDTH x HEIGHT" -> share of the slices.
        phase: "enhanced" and "plain" -> share, each slice judged by its own brightness.
        view: axial, coronal, sagittal -> share.
        enhancement, soft_grey, body_share: minimum, deciles and maximum; see
            kidney.imaging.appearance.
        embedding: mean and standard deviation over slices of an 8 x 8 picture, row by row, in grey
            of 0 to 255: what lies where.
    """
    looks = appearance(thumbnails)
    counts = np.bincount(thumbnails.reshape(-1) // (256 // GREY_BINS), minlength=GREY_BINS)
    names, sizes = np.unique(
        [f"{width} x {height}" for height, width in shapes], return_counts=True
    )
    step = THUMBNAIL_SIDE // _GRID
    blocks = thumbnails.reshape(len(thumbnails), _GRID, step, _GRID, step)
    grid = blocks.mean(axis=(2, 4), dtype=np.float64).reshape(len(thumbnails), -1)
    enhanced = float((looks["enhancement"] >= ENHANCED_FROM).mean())
    return {
        "slices": len(thumbnails),
        "grey": _rounded(counts / counts.sum(), 5),
        "sizes": dict(zip(names.tolist(), _rounded(sizes / sizes.sum(), 5), strict=True)),
        "phase": {"enhanced": round(enhanced, 5), "plain": round(1 - enhanced, 5)},
        "view": {
            name: round(float((looks["view"] == number).mean()), 5)
            for number, name in enumerate(VIEWS)
        },
        **{
            name: _rounded(np.quantile(looks[name], _QUANTILES), 4)
            for name in ("enhancement", "soft_grey", "body_share")
        },
        "embedding": {"mean": _rounded(grid.mean(axis=0), 2), "std": _rounded(grid.std(axis=0), 2)},
    }


def _rounded(values: NDArray[np.float64], digits: int) -> list[float]:
    return [round(float(value), digits) for value in values]
