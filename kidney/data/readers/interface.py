"""What a reader of raw files hands to ingest.

A reader is a function of the raw folder, with settings as keywords, that conf/data names under
`read`. It lists its work as tasks, which is cheap, and ingest runs the tasks on all cores.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class RawSlice:
    """One slice as its file shows it.

    Attributes:
        path: of the file below the raw folder, POSIX.
        label: one of the classes of the data set; "" where the files do not say.
        pixels: uint8 (H, W).
        sha256: of the file; of the pixels where the file holds several slices.
        frame: number of the slice in its file, from 0.
        scan: what the slice was acquired in, where the files say so; "" is for inference.
        patient: whose it is, never a name or number that a hospital gave; "" where nobody knows.
        phase: "enhanced" or "plain" by the files' own word; "" where they do not say.
        plane: "axial", "coronal", "sagittal" or "oblique" by the files' own word, else "".
        window: width/level in HU through which the slice is shown; "" where it was 8-bit grey.
        pixel_mm: side of a pixel; NaN where unknown.
        slice_mm: distance to the next slice; NaN where unknown.
        doubt: why the label must not be believed unless a correction gives one; else "".
    """

    path: str
    label: str
    pixels: NDArray[np.uint8]
    sha256: str
    frame: int = 0
    scan: str = ""
    patient: str = ""
    phase: str = ""
    plane: str = ""
    window: str = ""
    pixel_mm: float = math.nan
    slice_mm: float = math.nan
    doubt: str = ""


@dataclass(frozen=True)
class Refused:
    """A file that is no usable slice, and why.

    `expected` marks what belongs to such a set and is nobody's mistake: a localizer among the
    slices, a mask whose volume was not downloaded. Validation counts only the others.
    """

    path: str
    reason: str
    expected: bool = False


Task = Callable[[], Sequence[RawSlice | Refused]]
Reader = Callable[[Path], Sequence[Task]]
