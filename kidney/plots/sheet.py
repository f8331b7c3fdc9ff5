"""Slices beside each other, with a caption each."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

_SIDE = 1.55  # inches of a picture
_CAPTION = 0.17  # inches of a line


def sheet(pictures: Sequence[NDArray[np.uint8]], captions: Sequence[str], columns: int) -> Figure:
    """Lay pictures out in rows.

    Args:
        pictures: uint8 (H, W), black to white whatever their own range, or RGB (H, W, 3); none
            make an empty sheet.
        captions: one for each, above it; line breaks are kept.
    """
    rows = max(1, -(-len(pictures) // columns))
    lines = max((caption.count("\n") + 1 for caption in captions), default=1)
    size = (_SIDE * columns, (_SIDE + _CAPTION * (lines + 0.4)) * rows)
    figure, cells = plt.subplots(
        rows, columns, figsize=size, dpi=110, layout="constrained", squeeze=False
    )
    plt.close(figure)
    for cell in cells.flat:
        cell.axis("off")
    for cell, picture, caption in zip(cells.flat, pictures, captions, strict=False):
        cell.imshow(picture, cmap="gray", vmin=0, vmax=255)
        cell.set_title(caption, fontsize=8, loc="left")
    return figure
