"""What is easily taken for a kidney or a lesion and is none: bowel, decoys, empty beds, arms.

All functions take float32 images (S, S) and a generator, and return new arrays. Lengths are in
pixels of a cut-out of side 256; others are scaled.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion, distance_transform_edt, gaussian_filter
from scipy.ndimage import label as components

from kidney.data.lesions.augment import Image, Mask, warp
from kidney.data.lesions.paste import Donors, DonorSlice, blob, log_uniform, noise, scale_of

# What lies outside the kidneys and how often; "other" is tissue of another patient.
_DECOYS = {"solid": 0.25, "cyst": 0.15, "fatty": 0.10, "bowel": 0.30, "other": 0.20}
_FAR = 12  # pixels between a decoy and the mask
_ALONE = 0.6  # share of slices with two kidneys of which one is erased
_OTHER, _BOWEL = (
    0.55,
    0.35,
)  # shares of erased kidneys replaced by other tissue, by bowel; rest: fat
_ROUNDED = np.ones((3, 3), np.bool_)


class Erased(NamedTuple):
    """A slice without some of its kidneys: image, mask, and whose tissue fills their beds."""

    image: Image
    mask: Mask
    donor: DonorSlice | None


def erase_kidneys(image: Image, mask: Mask, donors: Donors, rng: np.random.Generator) -> Erased:
    """Replace one kidney or all of them, lesions included, by fat, bowel or other tissue.

    Args:
        image: float32 (S, S), HU.
        mask: uint8 (S, S), with all kidneys of the slice.
        donors: of other tissue.
        rng: of the draws.
    """
    parts, count = components(mask > 0, structure=_ROUNDED)
    gone = mask > 0
    if count > 1 and rng.random() < _ALONE:
        one = parts == int(rng.integers(1, count + 1))
        gone = one if one.sum() > 40 * scale_of(mask) ** 2 else gone
    bed = binary_dilation(gone, iterations=int(rng.integers(2, 7))) & ~((mask > 0) & ~gone)
    alpha = gaussian_filter(bed.astype(np.float32), float(rng.uniform(0.7, 2)))
    draw = rng.random()
    found = _other(bed, donors, rng) if draw < _OTHER else None
    if found is not None:
        fill, donor = found
    else:
        donor = None
        fat = rng.uniform(-25, 5) if image.min() >= 0 else rng.uniform(-115, -85)
        fill = fat + noise(mask.shape, 0.8, rng) * rng.uniform(3, 12)
        fill = np.clip(fill, image.min(), 255).astype(np.float32)
        if draw < _OTHER + _BOWEL:
            places = np.argwhere(gone)
            for _ in range(int(rng.integers(1, 6))):
                row, column = places[rng.integers(len(places))]
                radius = log_uniform(rng, 4, 24) * scale_of(mask)
                fill = _bowel(fill, (row, column), radius, rng)
    blended = (image * (1 - alpha) + fill * alpha).astype(np.float32)
    return Erased(blended, np.where(gone, 0, mask).astype(np.uint8), donor)


def add_decoys(
    image: Image, mask: Mask, donors: Donors | None, rng: np.random.Generator
) -> tuple[Image, list[DonorSlice]]:
    """Put one to three things that look like lesions well outside the kidneys.

    Args:
        image: float32 (S, S), HU, or greys 0..255 of an unknown window.
        mask: uint8 (S, S), with all kidneys of the slice.
        donors: of other tissue, in HU; None: the image has greys, to which values are fitted.
        rng: of the draws.

    Returns:
        The image, and whose tissue is in it.
    """
    used: list[DonorSlice] = []
    tissue = image > 20
    if tissue.sum() < 500 * scale_of(mask) ** 2:
        return image, used
    far = distance_transform_edt(mask == 0) > _FAR if mask.any() else np.ones(mask.shape, np.bool_)
    places = np.argwhere(tissue & far & (image < 235))
    if len(places) < 100 * scale_of(mask) ** 2:
        return image, used
    low, high = (0.0, 150.0) if donors is not None else np.quantile(image[tissue], [0.15, 0.85])
    for _ in range(int(rng.integers(1, 4))):
        row, column = places[rng.integers(len(places))]
        kind = str(rng.choice(list(_DECOYS), p=list(_DECOYS.values())))
        radius = log_uniform(rng, 4, 20) * scale_of(mask)
        spot = blob(mask.shape[0], (row, column), radius, rng)
        found = _other(spot, donors, rng) if kind == "other" and donors is not None else None
        if found is not None:
            patch = found[0]
            used.append(found[1])
        else:
            if kind in ("bowel", "other"):
                hu = _bowel(np.zeros_like(image), (row, column), radius, rng)
                spot = hu > 0.5
            else:
                hu = _decoy(kind, mask.shape, rng)
            patch = np.asarray(low + (high - low) * hu / 150, np.float32)
        alpha = gaussian_filter((spot & far).astype(np.float32), 0.8)
        patch = np.clip(patch, image.min(), 600 if donors is not None else 255)
        image = (image * (1 - alpha) + patch * alpha).astype(np.float32)
    return image, used


def add_arms(image: Image, rng: np.random.Generator) -> Image:
    """Draw arms beside the body of a slice in greys 0..255: skin, fat, muscle, bones."""
    size = image.shape[0]
    body = gaussian_filter((image > 60).astype(np.float32), 2) > 0.5
    columns = np.flatnonzero(body.sum(axis=0) > size * 0.08)
    rows = np.flatnonzero(body.any(axis=1))
    if len(columns) < size * 0.3:
        return image
    muscle = float(np.median(image[body])) * float(rng.uniform(0.8, 1.1))
    for edge, side in ((columns[0], -1), (columns[-1], 1)):
        if rng.random() < 0.2:
            continue
        radius = float(rng.uniform(13, 26)) * scale_of(image)
        column = int(edge + side * radius * float(rng.uniform(0.9, 1.3)))
        row = int(rng.uniform(rows[0] + 0.25 * len(rows), rows[-1]))
        if not -radius * 0.4 < column < size + radius * 0.4:
            continue
        arm = blob(size, (row, column), radius, rng)
        alpha = gaussian_filter((arm & ~body).astype(np.float32), 0.8)
        fill = np.clip(_arm(arm, (row, column), radius, muscle, rng), 0, 255)
        image = (image * (1 - alpha) + fill * alpha).astype(np.float32)
    return image


def _arm(
    arm: NDArray[np.bool_], middle: tuple[int, int], radius: float, muscle: float,
    rng: np.random.Generator,
) -> NDArray[np.floating]:  # fmt: skip
    fill = muscle + noise(arm.shape, rng.uniform(1, 4), rng) * rng.uniform(4, 25)
    rim = arm & ~binary_erosion(arm, iterations=int(max(1, radius * rng.uniform(0.04, 0.2))))
    fill = np.where(rim, rng.uniform(0, 0.5) * muscle, fill)
    for _ in range(int(rng.integers(1, 3))):
        row, column = (int(at + rng.normal(0, radius * 0.25)) for at in middle)
        bone = blob(arm.shape[0], (row, column), radius * float(rng.uniform(0.18, 0.35)), rng)
        marrow = binary_erosion(bone, iterations=int(rng.integers(1, 4)))
        fill = np.where(bone, rng.uniform(210, 255), fill)
        fill = np.where(marrow, rng.uniform(0.3, 1.3) * muscle, fill)
    return fill


def _other(
    region: NDArray[np.bool_], donors: Donors, rng: np.random.Generator
) -> tuple[Image, DonorSlice] | None:
    """Return another slice moved so that `region` shows tissue and no kidney; None: not found."""
    donor = donors.draw("other", rng)
    if donor is None:
        return None
    size = region.shape[0]
    image, mask = warp(donor.image.astype(np.float32), donor.mask, size, rng)
    for _ in range(8):
        down, right = (int(by) for by in rng.integers(-size // 3, size // 3, 2))
        moved = np.roll(image, (down, right), (0, 1))
        kidney = np.roll(mask, (down, right), (0, 1))[region]
        if not kidney.any() and (moved[region] > 15).mean() > 0.45:
            return moved, donor
    return None


def _bowel(image: Image, middle: tuple[int, int], radius: float, rng: np.random.Generator) -> Image:
    """Draw a loop in HU: a wall, and fluid, stool, gas or oral contrast in it."""
    outer = blob(image.shape[0], middle, radius, rng)
    inner = binary_erosion(outer, iterations=max(1, int(radius * rng.uniform(0.1, 0.35))))
    wall = float(rng.uniform(35, 150))
    contents = [rng.uniform(0, 35), rng.uniform(20, 70), 0.0, rng.uniform(150, 280)]
    content = float(rng.choice(contents, p=[0.4, 0.35, 0.12, 0.13]))
    grain = noise(image.shape, rng.uniform(0.7, 2.5), rng) * float(rng.uniform(4, 25))
    a, b = (gaussian_filter(part.astype(np.float32), 0.8) for part in (outer, inner))
    image = image * (1 - a) + (wall + 0.3 * grain) * a
    drawn: Image = (image * (1 - b) + np.clip(content + grain, 0, 400) * b).astype(np.float32)
    return drawn


def _decoy(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> Image:
    """Return the values in HU of a drawn lesion."""
    level, grain = {
        "solid": (rng.uniform(30, 150), rng.uniform(3, 25)),
        "cyst": (rng.uniform(-5, 22), 0.0),
        "fatty": (rng.uniform(-70, 10), rng.uniform(25, 60)),
    }[kind]
    texture = noise(shape, rng.uniform(1.5, 5), rng)
    values = level + grain * texture + noise(shape, 0.7, rng) * float(rng.uniform(4, 12))
    return values.astype(np.float32)
