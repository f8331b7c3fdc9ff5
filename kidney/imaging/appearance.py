"""How slices look, in numbers that no finding should depend on, estimated from thumbnails.

They describe contrast, window, framing and plane, for data sets that do not record these. The
baseline sums them up for a set: the model card carries that of the training slices, and a server
compares its inputs with it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

THUMBNAIL_SIDE = 96
# Through a window of 400 HU around 40 HU, grey 150 is 75 HU. Liver and spleen without contrast
# medium are about 60 HU, kidneys 30; enhanced kidneys and vessels lie above 100.
ENHANCED_FROM = 150
PLANES = ("axial", "coronal", "sagittal")
_TISSUE_FROM = 45  # fat and more; air and couch padding are below
_BONE_FROM = 215
_TOUCHES = 0.06  # share of an edge that shows tissue; couches reach 0.04, bodies at least 0.10
_SLICES_AT_ONCE = 256
GREY_BINS = 16  # of 16 greys each
_GRID = 8
_QUANTILES = np.linspace(0, 1, 11)


def thumbnail(slice_: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink a slice (H, W) to uint8 (96, 96) by area averages."""
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    return np.asarray(Image.fromarray(slice_).resize(side, Image.Resampling.BOX))


def appearance(thumbnails: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
    """Describe slices.

    Args:
        thumbnails: uint8 (N, 96, 96).

    Returns:
        float64 (N,) each:
        enhancement: grey, 0 to 255, that 5 % of the soft tissue away from bone exceed; 0 where
            there is none. `ENHANCED_FROM` and above means contrast medium in a usual window.
        soft_grey: median grey of that tissue: moves with window and contrast medium.
        body_share: share of the picture that is no air, 0 to 1.
        plane: index into PLANES. A body that leaves the picture at head and feet is seen from the
            front, one that leaves it on both sides lies down: couches alone do neither.
    """
    chunks = [
        _describe(thumbnails[start : start + _SLICES_AT_ONCE])
        for start in range(0, len(thumbnails), _SLICES_AT_ONCE)
    ]
    names = ("enhancement", "soft_grey", "body_share", "plane")
    columns = zip(*chunks, strict=True) if chunks else [[np.empty(0)]] * len(names)
    return {name: np.concatenate(parts) for name, parts in zip(names, columns, strict=True)}


def _describe(thumbnails: NDArray[np.uint8]) -> tuple[NDArray[np.float64], ...]:
    tissue = thumbnails >= _TISSUE_FROM
    # Pixels at the rim of bone or air are mixtures: 3 pixels from bone and 1 from air are left out.
    soft = _shrunk(tissue, 1) & _shrunk(thumbnails < _BONE_FROM, 3)
    high, middle = _quantiles(thumbnails, soft, (0.95, 0.5))
    edges = [tissue[:, :2], tissue[:, -2:], tissue[:, :, :2], tissue[:, :, -2:]]
    top, bottom, left, right = (edge.mean(axis=(1, 2)) > _TOUCHES for edge in edges)
    plane = np.where(top & bottom, 1.0, np.where(left & right & ~(top | bottom), 2.0, 0.0))
    return high, middle, (thumbnails >= _TISSUE_FROM // 2).mean(axis=(1, 2)), plane


def _shrunk(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """Keep what is at least `pixels` away, in rows or columns, from what is not in the mask."""
    out = mask.copy()
    for axis in (1, 2):
        source = out.copy()
        for step in range(1, pixels + 1):
            ahead, behind = [slice(None)] * 3, [slice(None)] * 3
            ahead[axis], behind[axis] = slice(step, None), slice(None, -step)
            out[tuple(behind)] &= source[tuple(ahead)]
            out[tuple(ahead)] &= source[tuple(behind)]
    return out


def _quantiles(
    thumbnails: NDArray[np.uint8], mask: NDArray[np.bool_], shares: tuple[float, ...]
) -> list[NDArray[np.float64]]:
    """Return the quantiles of the masked greys of each slice; 0 where the mask is empty."""
    slices = np.repeat(np.arange(len(mask)), mask.sum(axis=(1, 2)))
    places = slices * 256 + thumbnails[mask]
    counts = np.bincount(places, minlength=256 * len(mask)).reshape(-1, 256).cumsum(axis=1)
    total = counts[:, -1:]
    found = [(counts >= np.maximum(share * total, 1)).argmax(axis=1) for share in shares]
    return [np.where(total[:, 0] > 0, grey, 0).astype(np.float64) for grey in found]


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
        plane: axial, coronal, sagittal -> share.
        enhancement, soft_grey, body_share: minimum, deciles and maximum; see
            `appearance`.
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
        "plane": {
            name: round(float((looks["plane"] == number).mean()), 5)
            for number, name in enumerate(PLANES)
        },
        **{
            name: _rounded(np.quantile(looks[name], _QUANTILES), 4)
            for name in ("enhancement", "soft_grey", "body_share")
        },
        "embedding": {"mean": _rounded(grid.mean(axis=0), 2), "std": _rounded(grid.std(axis=0), 2)},
    }


def _rounded(values: NDArray[np.float64], digits: int) -> list[float]:
    return [round(float(value), digits) for value in values]
