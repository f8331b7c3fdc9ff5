"""Hounsfield units to grey: the windows through which a slice is shown."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kidney.errors import ConfigError

MIN_HU = -1024  # air; what was never scanned is shown as air
MAX_HU = 3071  # the top of the usual 12 bits; metal is clipped there


@dataclass(frozen=True)
class Window:
    """A range of Hounsfield units that is spread over the greys, linear in between.

    Attributes:
        center: middle of the range in HU, also called level; finite.
        width: of the range in HU, more than 1 and finite.

    Raises:
        ConfigError: a number out of range.
    """

    center: float
    width: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.center) and 1 < self.width < math.inf):
            raise ConfigError(
                f"Expected a window with a width of more than 1 HU, got width {self.width:g} "
                f"and level {self.center:g}.",
                f"Use {_CHOICES}.",
            )

    def __str__(self) -> str:
        return f"{self.width:.10g}/{self.center:.10g}"


_CHOICES = (
    "abdomen, kidney, bone or lung, or WIDTH/LEVEL in HU with a width above 1, such as 350/50"
)
ABDOMEN = Window(center=40, width=400)
WINDOWS: Mapping[str, Window] = {
    "abdomen": ABDOMEN,  # the usual one for soft tissue
    # From -45 to 205 HU: cysts (0 to 20), plain parenchyma (about 30), tumours and parenchyma in
    # the nephrographic phase (up to about 200) get 1.6 times the greys that the abdomen window
    # gives them. Fat and stones end at black and white.
    "kidney": Window(center=80, width=250),
    "bone": Window(center=480, width=2500),  # keeps dense stones and bone apart
    "lung": Window(center=-600, width=1500),  # the bases of the lungs lie above the kidneys
}


def window_named(text: str) -> Window:
    """Return the window of a setting.

    Args:
        text: a name of WINDOWS, or "WIDTH/LEVEL" in HU, such as "350/50".

    Raises:
        ConfigError: neither of them, or a width of 1 or less.
    """
    if text in WINDOWS:
        return WINDOWS[text]
    number = r"[+-]?\d+(?:\.\d+)?"
    if not re.fullmatch(rf"{number}/{number}", text, re.ASCII):
        raise ConfigError(f"Expected the name of a window, got {text!r}.", f"Use {_CHOICES}.")
    width, center = text.split("/")
    return Window(center=float(center), width=float(width))


def to_grey(hu: NDArray[np.generic], window: Window = ABDOMEN) -> NDArray[np.uint8]:
    """Show HU through a window, as DICOM PS3.3 C.11.2.1.2 defines it (linear).

    Args:
        hu: integers or finite floats, any shape. int16 is fastest.
        window: the range of HU that gets greys; below it is black, above it white.

    Returns:
        uint8, the same shape, 0 to 255.
    """
    if hu.dtype == np.int16:  # a table of 65,536 greys, then one look-up a pixel: 3 times faster
        grey: NDArray[np.uint8] = _greys(window)[hu.view(np.uint16)]
        return grey
    return _shown(hu, window)


@lru_cache(maxsize=32)
def _greys(window: Window) -> NDArray[np.uint8]:
    """Return the grey of every int16 at the place of its bits as uint16."""
    return _shown(np.arange(1 << 16, dtype=np.uint16).view(np.int16), window)


def _shown(hu: NDArray[np.generic], window: Window) -> NDArray[np.uint8]:
    share = (hu.astype(np.float32) - (window.center - 0.5)) / (window.width - 1) + 0.5
    grey: NDArray[np.uint8] = np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)
    return grey
