"""How to feed a kidney.onnx, as its card tells it: the picture, and the window it was made with."""

from collections.abc import Mapping
from typing import Any

from kidney.imaging.pictures import MIN_SIDE
from kidney.imaging.windows import ABDOMEN, window_named

INPUT_CONTRACT: Mapping[str, Any] = {
    "name": "slices",
    "dtype": "uint8",
    "layout": "N, 1, height, width: any number of slices of one size",
    "values": "0 to 255, black to white",
    "smallest_side": MIN_SIDE,
    "sizes": "any height and width in pixels; send the original resolution",
    "colour": "one channel of grey; of a colour picture its luma (ITU-R 601)",
    "orientation": "as a radiologist looks at it: the patient's right on the left of the picture, "
    "front at the top of an axial slice, head at the top of a coronal one",
    "in_the_graph": "finding the body, cutting it out, antialiased resize, normalisation, "
    "temperature and softmax",
}


def window_contract(trained_with: str | None) -> dict[str, Any]:
    """Say through which window Hounsfield units become the greys that a model expects.

    Args:
        trained_with: the window of training data in Hounsfield units, as `window_named` reads it;
            None: training data were pictures, grey already.

    Raises:
        ConfigError: `trained_with` names no window.
    """
    window = window_named(trained_with) if trained_with else ABDOMEN
    why = (
        "training slices were made with it"
        if trained_with
        else "training slices were pictures, which do not tell theirs; it is the usual one for "
        "soft tissue"
    )
    return {
        "center": window.center,
        "width": window.width,
        "unit": "HU",
        "formula": "255 * clip((hu - (center - 0.5)) / (width - 1) + 0.5, 0, 1), rounded: linear, "
        "DICOM PS3.3 C.11.2.1.2",
        "why": why,
        "pictures": "JPEG, PNG and TIFF are taken as windowed already; never stretch a picture to "
        "its own minimum and maximum",
    }
