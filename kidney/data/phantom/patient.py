"""Who lies in the phantom scanner, and how: everything about a scan except its label.

What is drawn here never sees the label, so no contrast phase, body, noise or framing can give a
label away. HU ranges are the usual ones of abdominal CT textbooks (at 120 kV, iodine 300-370
mg/ml at 3-5 ml/s): water 0, fat -120 to -90, muscle 50 to 60, unenhanced liver 50 to 62 and kidney
28 to 38; arterial at 30 s, portal (kidney: nephrographic) at 80 s, excretory after 5 minutes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from kidney.data.phantom.canvas import View

PHASES = ("non-contrast", "arterial", "nephrographic", "excretory")

_TISSUES: Mapping[str, tuple[tuple[float, float], ...]] = MappingProxyType(
    {  # (low, high) HU in each of PHASES
        "aorta": ((38, 46), (240, 370), (140, 180), (95, 130)),
        "vein": ((36, 44), (60, 120), (130, 172), (92, 125)),
        "cortex": ((28, 38), (150, 215), (150, 190), (105, 140)),
        "medulla": ((28, 38), (55, 90), (135, 180), (105, 145)),
        "urine": ((0, 12), (0, 12), (2, 15), (300, 1000)),
        "liver": ((40, 62), (58, 80), (90, 125), (75, 105)),
        "spleen": ((42, 52), (95, 145), (108, 135), (82, 105)),
        "pancreas": ((32, 45), (85, 120), (75, 100), (60, 85)),
        "bowel wall": ((32, 45), (60, 100), (75, 105), (60, 85)),
        "muscle": ((46, 56), (50, 60), (56, 68), (54, 66)),
        "tumor": ((28, 44), (65, 140), (62, 120), (52, 92)),
        "fat": ((-115, -95), (-115, -95), (-115, -95), (-115, -95)),
        "marrow": ((100, 200), (100, 200), (110, 215), (110, 215)),
        "water": ((0, 18), (0, 18), (0, 18), (0, 18)),
    }
)
MAX_SLAB_MM = 70.0  # a kidney is about 110 mm long; all slices of a scan show both


@dataclass(frozen=True)
class Patient:
    """The nuisance variables of one scan.

    Args:
        phase: one of PHASES.
        habitus: 0 thin to 1 obese.
        scale: stature, 1 is average.
        side: -1 the right kidney (left in the picture), 1 the left; a finding goes there.
        heights: z in mm of each slice, head first, equally spaced.
        view: pixel size, framing and slice thickness.
        kernel: 0 smooth to 1 sharp reconstruction.
        noise: standard deviation in HU at the centre of the body.
        hu: HU of each tissue in this phase; "tumor" and "cyst" are those a lesion would have.
        table: which of two couches.
    """

    phase: str
    habitus: float
    scale: float
    side: int
    heights: tuple[float, ...]
    view: View
    kernel: float
    noise: float
    hu: Mapping[str, float]
    table: int


def draw_patient(seed: int, size: int, max_slices: int) -> Patient:
    """Draw one patient and scan protocol.

    Args:
        seed: of this scan. Its remainder by 4 picks the phase, so that each run of consecutive
            seeds holds all phases equally often, whatever labels it is used for.
        size: rows and columns.
        max_slices: the most slices.

    Returns:
        The patient, with 8 to 36 slices 2 to 4.5 mm apart (fewer if `max_slices` says so).
    """
    rng = np.random.default_rng([seed, 0])
    phase = seed % len(PHASES)
    habitus = float(rng.beta(1.3, 1.5))
    scale = float(rng.uniform(0.9, 1.1))
    side = -1 if rng.random() < 0.5 else 1
    gap = float(np.round(rng.uniform(2, 4.5), 2))
    slab = 14 + (MAX_SLAB_MM - 14) * rng.random() ** 2
    count = min(max(8, round(slab / gap) + 1), max_slices)
    half = (count - 1) * gap / 2
    middle = rng.uniform(-1, 1) * min(40 - half, 22)
    heights = tuple(float(z) for z in middle + half - gap * np.arange(count))

    width, depth = body_radii(habitus, scale)
    # Neighbouring seeds are framed unlike each other, by sequences that never come close to their
    # last value, so that no two scans in a row look like one.
    zoom, height = seed * 0.6180339887 % 1, seed * 0.4142135624 % 1
    field = max(2 * width, 2.2 * depth) * (1.04 + 0.46 * zoom)
    spare = field / 2 - np.array([width, depth])
    shift = np.clip([rng.uniform(-60, 60), 120 * height - 60], -spare * 0.85, spare * 0.85)
    wave_number = 2 * np.pi / rng.uniform([90, 260] * 2, [140, 420] * 2)
    warp = np.column_stack(
        [
            rng.uniform([1, 2] * 2, [3.2, 7] * 2),
            wave_number,
            2 * np.pi / rng.uniform(250, 500, size=4),
            rng.uniform(0, 2 * np.pi, size=4),
        ]
    ).astype(np.float32)
    turn = float(np.clip(rng.normal(0, 0.09), -0.2, 0.2))
    kernel = float(rng.random())
    noise = float(rng.uniform(5, 9.5) * (0.75 + 0.6 * habitus) * (0.8 + 0.5 * kernel))
    hu = {name: float(rng.uniform(*ranges[phase])) for name, ranges in _TISSUES.items()}
    hu["medulla"] = min(hu["medulla"], hu["cortex"] + 8)
    hu["cyst"] = float(rng.uniform(3, 17))
    pixel = float(np.round(field / size, 4))
    view = View(size, pixel, gap, (float(shift[0]), float(shift[1])), turn, warp)
    table = int(rng.integers(2))
    return Patient(
        PHASES[phase], habitus, scale, side, heights, view, kernel, noise, MappingProxyType(hu),
        table,
    )  # fmt: skip


def body_radii(habitus: float, scale: float) -> tuple[float, float]:
    """Return half the width and half the depth of the trunk in mm (120 to 210, 90 to 162)."""
    wall = wall_radii(habitus, scale)
    return wall[0] + 6 + 28 * habitus, wall[1] + 8 + 22 * habitus


def wall_radii(habitus: float, scale: float) -> tuple[float, float]:
    """Return the half axes in mm of the outside of the muscular abdominal wall."""
    return scale * (128 + 32 * habitus), scale * (92 + 28 * habitus)
