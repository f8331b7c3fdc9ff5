"""Abdominal CT scans out of numbers: Hounsfield units and masks, for demonstrations and tests.

A phantom teaches no medicine. It has the anatomy, contrast phases, bodies, noise and framing of
abdominal CT at kidney level, all drawn without a look at the label, so that a model can reach its
label only by the finding. The same seed with two labels gives the same patient twice.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from kidney.data.phantom.anatomy import build_abdomen
from kidney.data.phantom.canvas import Floats, Part, open_canvas, paint, picture_axis
from kidney.data.phantom.kidney import build_kidney, draw_finding
from kidney.data.phantom.patient import PHASES, Patient, body_radii, draw_patient
from kidney.errors import ConfigError

CLASSES = ("normal", "cyst", "tumor", "stone")
MASK_LABELS: Mapping[int, str] = {0: "background", 1: "kidney", 2: "tumor", 3: "cyst", 4: "stone"}
MIN_SIZE = 64

__all__ = ["CLASSES", "MASK_LABELS", "PHASES", "PhantomScan", "generate_scan", "generate_scans"]


@dataclass(frozen=True)
class PhantomScan:
    """One scan: neighbouring axial slices, head first, seen from the feet (patient's left right).

    Args:
        hu: int16 (slices, rows, cols), Hounsfield units, -1024 to 3071; rows run to the back.
        masks: uint8, the same shape, values of MASK_LABELS. Fat of the renal sinus is background.
        label: one of CLASSES; every slice shows the finding.
        phase: contrast phase, one of PHASES.
        spacing: mm between slices, rows and columns.
        seed: what the scan was drawn from.
        side: "right" or "left": where the finding is, or would be in a normal scan.
        habitus: 0 thin to 1 obese.
        noise: standard deviation in HU in the middle of the body.
        kernel: 0 smooth to 1 sharp reconstruction.
    """

    hu: NDArray[np.int16]
    masks: NDArray[np.uint8]
    label: str
    phase: str
    spacing: tuple[float, float, float]
    seed: int
    side: str
    habitus: float
    noise: float
    kernel: float


def generate_scan(seed: int, label: str, size: int = 256, max_slices: int = 40) -> PhantomScan:
    """Draw one scan; the same arguments give the same bytes.

    Args:
        seed: 0 or more. It decides on everything but the finding.
        label: one of CLASSES.
        size: rows and columns, 64 or more.
        max_slices: the most slices, 1 or more.

    Returns:
        The scan, with 8 to 36 slices 2 to 4.5 mm apart, unless `max_slices` asks for fewer.

    Raises:
        ConfigError: an unknown label, or a number out of range.
    """
    _check(label in CLASSES, f"label to be one of {', '.join(CLASSES)}, got {label!r}")
    check_protocol(seed, size, max_slices)
    patient = draw_patient(seed, size, max_slices)
    anatomy = np.random.default_rng([seed, 1])
    abdomen = build_abdomen(patient, anatomy)
    kidneys = [build_kidney(patient, side, anatomy) for side in (-1, 1)]
    ill = kidneys[0] if patient.side < 0 else kidneys[1]
    finding = draw_finding(
        label, patient, ill, np.random.default_rng([seed, 3, CLASSES.index(label)])
    )
    parts = [*abdomen.behind, *kidneys[0].parts, *kidneys[1].parts, *finding, *abdomen.before]
    shot = np.random.default_rng([seed, 2])  # noise has a stream of its own, blind to the label
    slices = [draw_slice(patient, abdomen.cavity, parts, z, shot) for z in patient.heights]
    return PhantomScan(
        hu=np.stack([hu for hu, _ in slices]),
        masks=np.stack([mask for _, mask in slices]),
        label=label,
        phase=patient.phase,
        spacing=(patient.view.thickness, patient.view.pixel, patient.view.pixel),
        seed=seed,
        side="right" if patient.side < 0 else "left",
        habitus=patient.habitus,
        noise=patient.noise,
        kernel=patient.kernel,
    )


def generate_scans(
    scans_per_class: int, seed: int, size: int = 256, max_slices: int = 40
) -> Iterator[PhantomScan]:
    """Draw scans one after the other, class after class in the order of CLASSES.

    Args:
        scans_per_class: 1 or more. Multiples of 4 give each class all phases equally often.
        seed: of the whole set; no two scans share a patient.
        size: rows and columns of a slice.
        max_slices: the most slices of a scan.

    Returns:
        An iterator that draws a scan when it is asked for it.

    Raises:
        ConfigError: a number out of range; raised at once, not at the first scan.
    """
    _check(scans_per_class >= 1, f"scans_per_class to be 1 or more, got {scans_per_class}")
    _check(seed >= 0, f"seed to be 0 or more, got {seed}")
    seeds_per_class = -(-scans_per_class // len(PHASES)) * len(PHASES)
    first = seed * 1_000_000
    return (
        generate_scan(first + number * seeds_per_class + scan, label, size, max_slices)
        for number, label in enumerate(CLASSES)
        for scan in range(scans_per_class)
    )


def draw_slice(
    patient: Patient, cavity: Part, parts: Sequence[Part], z: float, rng: np.random.Generator
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Draw one slice of `parts` at height `z` in mm as the scanner of `patient` shows it.

    Returns:
        HU int16 and mask uint8, both (rows, cols).
    """
    canvas = open_canvas(patient.view, z, cavity)
    _paint_table(canvas.hu, patient)
    for part in parts:
        paint(canvas, part)
    hu = canvas.hu
    # A smooth kernel blurs edges and noise; a sharp one overshoots at edges and keeps fine grain.
    soft = gaussian_filter(hu, 0.95 - 0.35 * patient.kernel, truncate=3)
    if patient.kernel > 0.6:
        soft += (patient.kernel - 0.6) * (soft - gaussian_filter(soft, 1.2, truncate=3))
    grain = rng.standard_normal(hu.shape, dtype=np.float32)
    grain = gaussian_filter(grain, 0.8 - 0.4 * patient.kernel, truncate=3)
    grain *= np.float32(patient.noise / grain.std())
    # X-rays that cross more of the body arrive weaker: noise is highest in the middle.
    far = np.sqrt(canvas.x**2 + (1.4 * canvas.y) ** 2) / 160
    soft += grain * np.clip(1.1 - 0.35 * far, 0.5, 1.1)
    return np.rint(np.clip(soft, -1024, 3071)).astype(np.int16), canvas.mask


def _paint_table(hu: Floats, patient: Patient) -> None:
    """Draw the couch under the patient into `hu`: a thin curved shell, hollow or with foam."""
    axis = picture_axis(patient.view)
    x, y = axis[None, :], axis[:, None]
    back = patient.view.shift[1] + body_radii(patient.habitus, patient.scale)[1]
    sag = 620 if patient.table else 900
    top = back + 6 - x**2 / sag
    wide = (np.abs(x) < 0.5 * 420).astype(np.float32)
    depth = y - top
    thickness = 26 if patient.table else 44
    foam = (depth > 0) & (depth < thickness)
    hu[foam & (wide > 0)] = -930
    for edge in (0.0, float(thickness)):
        shell = np.clip((1.2 - np.abs(depth - edge)) / patient.view.pixel + 0.5, 0, 1) * wide
        hu += shell * (350 - hu)


def check_protocol(seed: int, size: int, max_slices: int) -> None:
    """See that one scan can be drawn with these settings.

    Raises:
        ConfigError: a number out of range.
    """
    _check(seed >= 0, f"seed to be 0 or more, got {seed}")
    _check(size >= MIN_SIZE, f"size to be {MIN_SIZE} pixels or more, got {size}")
    _check(max_slices >= 1, f"max_slices to be 1 or more, got {max_slices}")


def _check(holds: bool, expected: str) -> None:
    if not holds:
        raise ConfigError(f"Expected {expected}.", "Correct the setting and run again.")
