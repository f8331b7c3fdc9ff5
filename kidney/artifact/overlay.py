"""Evidence to a picture: the slice in grey, positive evidence for a class in colour."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Weak to strong: seven samples of matplotlib's inferno (CC0) between 0.30 and 0.96. Its lightness
# rises evenly, so the order survives colour blindness and a grey printer.
RAMP = (
    (106, 23, 110),
    (151, 39, 102),
    (195, 59, 79),
    (229, 92, 48),
    (248, 137, 12),
    (251, 190, 35),
    (242, 242, 125),
)


def evidence_overlay(
    slice_: NDArray[np.uint8],
    evidence_map: NDArray[np.float32],
    strongest: float,
    opacity: float = 0.7,
    region: Sequence[float] | None = None,
) -> NDArray[np.uint8]:
    """Paint the positive evidence of one class over its slice.

    Colour and opacity both grow with the evidence, so weak evidence looks weak; where evidence is
    zero or negative the slice stays as it is.

    Args:
        slice_: uint8 (H, W).
        evidence_map: float (h, w), one class of the model's evidence. It is enlarged bilinearly.
        strongest: the evidence that gets the full colour, usually the highest of all classes on
            this slice; at 0 or below nothing is coloured.
        opacity: how much of the slice the full colour covers, 0 to 1.
        region: top, left, bottom, right in pixels of the slice that the map covers; it may reach
            beyond the slice. None: all of it.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        ValueError: `opacity` is not between 0 and 1.
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"Expected opacity between 0 and 1, but got {opacity}.")
    height, width = slice_.shape
    grey = np.repeat(slice_[:, :, None], 3, axis=2)
    if strongest <= 0:
        return grey
    top, left, bottom, right = (round(end) for end in region or (0, 0, height, width))
    relative = Image.fromarray(evidence_map.astype(np.float32) / np.float32(strongest))
    size = (max(1, right - left), max(1, bottom - top))
    placed = Image.new("F", (width, height))
    placed.paste(relative.resize(size, Image.Resampling.BILINEAR), (left, top))
    strength = np.clip(np.asarray(placed), 0, 1)  # (H, W)
    alpha = (opacity * strength)[:, :, None]
    painted = (1 - alpha) * grey + alpha * _colour(strength)
    return np.asarray(np.rint(painted), dtype=np.uint8)


def within(slice_: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return the slice, shrunk if it must be so that no side is longer than `side` pixels.

    Args:
        slice_: uint8 (H, W), or an overlay of one, uint8 (H, W, 3).
        side: pixels.
    """
    height, width = slice_.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return slice_
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(slice_).resize(size, Image.Resampling.BOX))


def png_bytes(picture: NDArray[np.uint8]) -> bytes:
    """Encode a grey (H, W) or RGB (H, W, 3) uint8 picture as PNG."""
    buffer = io.BytesIO()
    # Level 3 takes half the time of the default 6 and makes a slice no larger.
    Image.fromarray(picture).save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()


def _colour(strength: NDArray[np.float32]) -> NDArray[np.float64]:
    """Look `strength` (H, W), 0 to 1, up in the ramp: float (H, W, 3), 0 to 255."""
    stops = np.linspace(0, 1, len(RAMP))
    channels = np.array(RAMP, dtype=np.float64).T
    return np.stack([np.interp(strength, stops, channel) for channel in channels], axis=-1)
