"""Where the evidence lies, as a page for people."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from kidney.artifact.overlay import evidence_overlay, png_bytes, within
from kidney.evaluation.metrics.localisation import Placed
from kidney.evaluation.result import Localisation
from kidney.reporting.pages import page, picture

_SIDE = 320  # pixels of a slice on the page at most
_OUTLINE = (64, 224, 120)
_PEAK = (90, 200, 255)
_ARM = 9  # pixels of the cross at the peak
NAMES = {
    "evidence": "Evidence",
    "relative": "Evidence beyond that for normal",
    "grad_cam": "Grad-CAM",
}
_FIGURES = {
    "peak_inside": "Peak inside the lesion (share of slices)",
    "peak_distance": "Distance from peak to lesion (pixels)",
    "iou": "Intersection over union, one threshold for all",
    "iou_best": "Intersection over union, each slice's own best threshold",
    "positive_inside": "Share of positive evidence inside the lesion",
    "chance": "Peak inside the lesion by chance",
}


def localisation_page(result: Localisation, pictures: Sequence[tuple[bytes, str]]) -> str:
    """Return the page as HTML."""
    model, data = result.model, result.data
    lead = (
        f"{result.slices:,} slices of {result.patients} patients whose lesions somebody has "
        f"drawn: {data.name}. Intervals hold 95 % of 1,000 resamples of whole patients; of few "
        f"patients they are too narrow.\nModel {model.backbone}, run {model.run}."
    )
    return page(
        "localisation.html",
        title=f"Localisation by {model.backbone}",
        lead=lead,
        maps=result.maps,
        names=NAMES,
        titles=_FIGURES,
        pictures=[picture(png, caption) for png, caption in pictures],
    )


def slice_picture(
    pixels: NDArray[np.uint8],
    lesion: NDArray[np.bool_],
    maps: Sequence[tuple[NDArray[np.floating], Placed]],
) -> bytes:
    """Draw the slice with its lesion outlined, and beside it each map with its peak, as a PNG.

    The arguments are those of `tiles`.
    """
    drawn = np.hstack(tiles(pixels, lesion, maps))
    channels = [within(drawn[..., k], _SIDE * (1 + len(maps))) for k in range(3)]
    return png_bytes(np.stack(channels, axis=-1))


def tiles(
    pixels: NDArray[np.uint8],
    lesion: NDArray[np.bool_],
    maps: Sequence[tuple[NDArray[np.floating], Placed]],
) -> list[NDArray[np.uint8]]:
    """Return the slice, and then each map with its peak over it, all with the lesion outlined.

    Args:
        maps: (H, W) as `enlarge` lays it, and how it lies to the lesion.

    Returns:
        uint8 (H, W, 3), RGB, each.
    """
    step = max(1, round(max(pixels.shape) / _SIDE))  # so thick that shrinking leaves it visible
    cross = np.zeros((2 * step + 1, 2 * step + 1), dtype=bool)
    cross[step], cross[:, step] = True, True
    edge = lesion & ~binary_erosion(lesion, cross)
    drawn = [np.repeat(pixels[:, :, None], 3, axis=2)]
    for laid, placed in maps:
        positive = np.clip(laid, 0, None).astype(np.float32)
        painted = evidence_overlay(pixels, positive, float(positive.max()))
        for across in (0, 1):
            reach = [step // 2 + 1, step // 2 + 1]
            reach[across] = _ARM * step
            rows = slice(max(0, placed.row - reach[0]), placed.row + reach[0])
            columns = slice(max(0, placed.column - reach[1]), placed.column + reach[1])
            painted[rows, columns] = _PEAK
        drawn.append(painted)
    for tile in drawn:
        tile[edge] = _OUTLINE
    return drawn
