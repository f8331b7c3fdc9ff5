"""Phantom slices with masks of their kidneys: the training set of the kidney locator.

No finding is learned from them: a phantom teaches no medicine. But what a kidney looks like to a
network that was trained on photographs, and where it lies, the phantom has right in every contrast
phase, and its masks cost nothing and belong to nobody.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kidney.data.phantom.scan import CLASSES, generate_scan
from kidney.imaging.windows import Window, to_grey

SCANS = 40
_SLICES = 2  # of each: neighbours say little more
_FIRST_SEED = 900_000  # of patients that no data set of the phantom has
_CENTRES, _WIDTHS = (20.0, 90.0), (250.0, 500.0)  # HU: windows in which abdomens are shown


class KidneySlice(NamedTuple):
    """One slice uint8 (H, W), and which pixels are kidney or a finding in it, bool (H, W)."""

    slice: NDArray[np.uint8]
    kidney: NDArray[np.bool_]


def locator_set(scans: int = SCANS, size: int = 256) -> list[KidneySlice]:
    """Draw slices of all phases and findings through many windows; always the same ones."""
    samples = []
    for number in range(scans):
        drawn = np.random.default_rng([_FIRST_SEED, number])
        label = CLASSES[number // 4 % len(CLASSES)]
        scan = generate_scan(_FIRST_SEED + number, label, size, _SLICES)
        for hu, mask in zip(scan.hu, scan.masks, strict=True):
            window = Window(center=drawn.uniform(*_CENTRES), width=drawn.uniform(*_WIDTHS))
            samples.append(KidneySlice(to_grey(hu, window), mask > 0))
    return samples
