"""Lesions put into kidneys that have none, so that no set and no phase means a finding.

Real tumours of other patients and drawn tumours, cysts and stones are pasted, and blobs of another
healthy kidney as well: the seam of a patch is no sign of a lesion then. (Pasting: TumorCP, Yang et
al., MICCAI 2021.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, gaussian_filter

from kidney.data.lesions.augment import Image, Mask, warp
from kidney.data.lesions.records import CYST, KIDNEY, STONE, TUMOR

# What is pasted and how often: a real tumour, a drawn solid or fatty one (angiomyolipoma), a drawn
# cyst or stone, and healthy tissue of another patient.
KINDS = {"tumor": 0.35, "solid": 0.08, "fatty": 0.10, "cyst": 0.18, "stone": 0.12, "healthy": 0.17}
_VALUE = {
    "tumor": TUMOR, "solid": TUMOR, "fatty": TUMOR, "cyst": CYST, "stone": STONE, "healthy": KIDNEY,
}  # fmt: skip
_BULGES = 0.6  # share of tumours whose middle lies at the kidney's rim
_Value = TypeVar("_Value", bound=np.generic)
# Lengths and areas are in pixels of a cut-out of this side; others are scaled.
_SIDE = 256
_LEAST_KIDNEY = 60  # for a lesion to be pasted at all; ...
_LEAST_PLACES = 40  # ... and of places where its middle may lie
_LEAST_TUMOR, _MOST_TUMOR = 15, 3000  # of a donor's tumour: larger ones replace the kidney
_BONE = 250  # HU: a patch does not run over ribs and spine


class DonorSlice(NamedTuple):
    """A slice that patches are taken from: image (S, S) in HU, mask, and its place in the data."""

    image: NDArray[np.int16]
    mask: Mask
    store: int
    row: int


@dataclass(frozen=True)
class Donors:
    """Slices by patient: with tumours, with healthy kidneys, and any with known kidneys."""

    tumors: Sequence[Sequence[DonorSlice]]
    healthy: Sequence[Sequence[DonorSlice]]
    others: Sequence[Sequence[DonorSlice]] = ()

    def draw(self, kind: str, rng: np.random.Generator) -> DonorSlice | None:
        """Return a slice of a random patient for "tumor", "healthy" or "other"; None: none."""
        patients = {"tumor": self.tumors, "healthy": self.healthy, "other": self.others}[kind]
        if not patients:
            return None
        slices = patients[int(rng.integers(len(patients)))]
        return slices[int(rng.integers(len(slices)))]


class Pasted(NamedTuple):
    """A slice with lesions pasted into it.

    Attributes:
        image: float32 (S, S), HU.
        mask: uint8 (S, S).
        drawn: bool (S, S), where lesions were pasted; healthy patches do not count.
        donors: whose tissue is in it.
    """

    image: Image
    mask: Mask
    drawn: NDArray[np.bool_]
    donors: list[DonorSlice]


def paste_lesions(
    image: Image, mask: Mask, count: int, donors: Donors, rng: np.random.Generator
) -> Pasted:
    """Paste up to `count` random patches into the kidneys of a slice.

    Args:
        image: float32 (S, S), Hounsfield units; those from 0 to 255 will do.
        mask: uint8 (S, S).
        count: of patches; one that does not fit is left out.
        donors: where patches come from.
        rng: of the draws.
    """
    drawn = np.zeros(mask.shape, np.bool_)
    used: list[DonorSlice] = []
    if (mask == KIDNEY).sum() <= _LEAST_KIDNEY * scale_of(mask) ** 2:
        return Pasted(image, mask, drawn, used)
    for _ in range(count):
        kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
        donor = donors.draw(kind, rng) if kind in ("tumor", "healthy") else None
        if donor is None and kind in ("tumor", "healthy"):
            continue
        place = _place(mask, kind, rng)
        if place is None:
            continue
        patch = (
            _taken(donor, kind, place, mask.shape[0], rng)
            if donor is not None
            else _made(image, mask, kind, place, rng)
        )
        if patch is None:
            continue
        image, mask, where = _blend(image, mask, *patch, kind)
        if kind != "healthy":
            drawn |= where
        if donor is not None:
            used.append(donor)
    return Pasted(image, mask, drawn, used)


def _place(mask: Mask, kind: str, rng: np.random.Generator) -> tuple[int, int] | None:
    """Return row and column for the middle of a patch in healthy kidney."""
    kidney = mask == KIDNEY
    if _VALUE[kind] == TUMOR and rng.random() < _BULGES:
        kidney &= ~binary_erosion(kidney, iterations=2)
    places = np.argwhere(kidney)
    if len(places) < _LEAST_PLACES * scale_of(mask) ** 2:
        return None
    row, column = places[rng.integers(len(places))]
    return int(row), int(column)


def _taken(
    donor: DonorSlice, kind: str, place: tuple[int, int], size: int, rng: np.random.Generator
) -> tuple[Image, NDArray[np.bool_]] | None:
    """Return a donor's slice shifted so that its patch lies at `place`, and where the patch is."""
    image, mask = warp(donor.image.astype(np.float32), donor.mask, size, rng, zoom=(0.4, 1.5))
    spot = mask == _VALUE[kind]
    scale = scale_of(mask)
    area = spot.sum() / scale**2
    if area < _LEAST_TUMOR or (kind == "tumor" and area > _MOST_TUMOR):
        return None
    if kind == "healthy":
        inside = np.argwhere(spot)
        row, column = inside[rng.integers(len(inside))]
        spot &= blob(size, (row, column), float(rng.uniform(4, 14)) * scale, rng)
        if spot.sum() < 10 * scale**2:
            return None
    else:
        row, column = np.argwhere(spot).mean(axis=0).round()
        image = image + float(rng.normal(0, 12))
    shift = (place[0] - int(row), place[1] - int(column))
    return _shifted(image, shift), _shifted(spot, shift)


def _shifted(values: NDArray[_Value], shift: tuple[int, int]) -> NDArray[_Value]:
    """Move an array by rows and columns; what leaves it is lost, what enters is 0."""
    moved = np.zeros_like(values)
    (down, right), (height, width) = shift, values.shape
    moved[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = values[
        max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
    ]
    return moved


def _made(
    image: Image, mask: Mask, kind: str, place: tuple[int, int], rng: np.random.Generator
) -> tuple[Image, NDArray[np.bool_]]:
    """Draw a lesion: values (S, S) in HU, and where it is."""
    if kind == "stone":
        radius = float(rng.uniform(1.0, 4.5))
    else:  # as many small ones as large ones
        radius = log_uniform(rng, *{"solid": (3, 22), "fatty": (4, 20), "cyst": (3, 22)}[kind])
    spot = blob(mask.shape[0], place, radius * scale_of(mask), rng)
    healthy = float(np.median(image[mask == KIDNEY]))
    if kind == "cyst":
        level, grain = rng.uniform(-5, 22), 0.0
    elif kind == "fatty":  # fat with strands of soft tissue
        level, grain = rng.uniform(-70, 10), rng.uniform(25, 60)
    elif kind == "stone":
        level, grain = rng.uniform(220, 600), 0.0
    else:
        level = float(np.clip(healthy * rng.uniform(0.35, 0.9), 25, 140))
        grain = rng.uniform(3, 25)
    texture = noise(mask.shape, rng.uniform(1.5, 5), rng)
    fine = noise(mask.shape, 0.7, rng) * float(rng.uniform(4, 12))
    return (level + grain * texture + fine).astype(np.float32), spot


def scale_of(mask: NDArray[np.generic]) -> float:
    """Return the side of a mask or image relative to that in which lengths are given."""
    return float(mask.shape[0] / _SIDE)


def noise(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> Image:
    """Draw smoothed noise of deviation 1."""
    grain = gaussian_filter(rng.standard_normal(shape).astype(np.float32), sigma)
    scaled: Image = grain / (grain.std() + 1e-6)
    return scaled


def _blend(
    image: Image, mask: Mask, patch: Image, spot: NDArray[np.bool_], kind: str
) -> tuple[Image, Mask, NDArray[np.bool_]]:
    """Blend a patch in with soft edges; return image, mask and where the patch is."""
    alpha = gaussian_filter(spot.astype(np.float32), 0.8)
    if kind == "stone":  # a few pixels only: blurred they would nearly vanish
        alpha = np.clip(alpha * 1.6, 0, 1)
    bone = (image > _BONE) & (mask != KIDNEY)
    alpha[gaussian_filter(bone.astype(np.float32), 2) > 0.3] = 0
    blended = (image * (1 - alpha) + np.clip(patch, image.min(), 600) * alpha).astype(np.float32)
    where = alpha > (0.4 if kind == "stone" else 0.5)
    labels = mask.copy()
    labels[where] = _VALUE[kind]
    return blended, labels, where


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a length whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def blob(
    size: int, middle: tuple[int, int], radius: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Draw a wavy ellipse of about `radius` pixels, bool (size, size)."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    y, x = y - middle[0], x - middle[1]
    turn = rng.uniform(0, np.pi)
    a, b = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    around = np.arctan2(b, a)
    wave = np.zeros_like(around)
    for k in (2, 3, 5):
        wave += rng.normal(0, 0.06) * np.cos(k * around + rng.uniform(0, 2 * np.pi))
    inside: NDArray[np.bool_] = np.hypot(a, b * rng.uniform(1, 1.5)) < radius * (1 + wave)
    return inside
