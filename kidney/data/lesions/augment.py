"""Slices as another scanner, patient, contrast phase and window would show them.

All functions take float32 images (S, S) and a generator, and return new arrays. Values are those of
the slice: Hounsfield units, those from 0 to 255, or greys; see `kidney.data.lesions.records`.
"""

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, distance_transform_edt, gaussian_filter

from kidney.data.lesions.records import KIDNEY
from kidney.imaging.windows import MAX_HU, MIN_HU

Image = NDArray[np.float32]
Mask = NDArray[np.uint8]

_QUARTER_TURNS = 0.08  # share of slices that lie on their side or upside down
_UPSIDE_DOWN = 0.15  # share mirrored top to bottom: sent from the head, or prone
_INVENTED_FAT = 0.7  # share of clipped slices shown through a window that reaches below water


def warp(
    image: Image,
    mask: Mask,
    size: int,
    rng: np.random.Generator,
    zoom: tuple[float, float] = (0.78, 1.45),
) -> tuple[Image, Mask]:
    """Turn, zoom, shift, stretch and mirror a cut-out (S, S) to (size, size).

    Args:
        image: outside of it is its lowest value.
        mask: of the same shape, sampled by nearest neighbour.
        size: side of the result in pixels.
        rng: of the draws.
        zoom: range of the magnification.
    """
    turn = float(rng.normal(0, 0.15))
    if rng.random() < _QUARTER_TURNS:
        turn += float(rng.choice([-1, 1, 2])) * np.pi / 2
    scale = float(np.exp(rng.uniform(*np.log(zoom))))
    stretch = float(np.exp(rng.normal(0, 0.06)))
    mirror_x = -1.0 if rng.random() < 0.5 else 1.0
    mirror_y = -1.0 if rng.random() < _UPSIDE_DOWN else 1.0
    spare = 0.12 + max(0.0, 1 - 1 / scale) * 0.6
    shift_x, shift_y = rng.uniform(-spare, spare, 2) * (1, 0.7)
    cos, sin = np.cos(turn) / scale, np.sin(turn) / scale
    theta = [
        [mirror_x * cos * stretch, -sin, shift_x],
        [mirror_x * sin, mirror_y * cos / stretch, shift_y],
    ]
    grid = nnf.affine_grid(torch.tensor([theta], dtype=torch.float32), [1, 1, size, size], False)
    lowest = image.min()
    pixels = torch.from_numpy(image - lowest)[None, None]
    sampled = nnf.grid_sample(pixels, grid, mode="bilinear", align_corners=False)
    warped: Image = sampled[0, 0].numpy() + lowest
    if not mask.any():
        return warped, np.zeros((size, size), np.uint8)
    labels = torch.from_numpy(mask.astype(np.float32))[None, None]
    labels = nnf.grid_sample(labels, grid, mode="nearest", align_corners=False)
    return warped, labels[0, 0].numpy().astype(np.uint8)


def without_contrast(image: Image, rng: np.random.Generator) -> Image:
    """Show the vessels and organs of an enhanced slice in HU as before contrast; bone stays."""
    low, gain = float(rng.uniform(42, 55)), float(rng.uniform(0.06, 0.2))
    top = low + gain * (200 - low)
    stops, values = [MIN_HU, 0, low, 200, 255, MAX_HU], [MIN_HU, 0, low, top, 255, MAX_HU]
    return np.interp(image, stops, values).astype(np.float32)


def kidney_phase(
    image: Image, mask: Mask, rng: np.random.Generator, without_contrast: bool
) -> Image:
    """Move and stretch the healthy kidney tissue of a slice in HU to another contrast phase.

    Args:
        image: Hounsfield units.
        mask: with KIDNEY somewhere.
        rng: of the draws.
        without_contrast: whether the rest of the slice is plain, so that the kidney has to be.
    """
    tissue = mask == KIDNEY
    alpha = gaussian_filter(tissue.astype(np.float32), 0.7)
    mean, spread = float(image[tissue].mean()), float(image[tissue].std()) + 1
    if without_contrast:
        aim, gain = float(rng.uniform(26, 42)), float(rng.uniform(6, 14)) / spread
    else:
        aim = float(rng.uniform(28, 45) if rng.random() < 0.4 else rng.uniform(60, 220))
        gain = float(rng.uniform(0.25, 1.2)) * (0.5 if aim < 50 else 1.0)
        if rng.random() < 0.15:  # the medulla brighter than the cortex
            gain = -gain
    changed = np.clip(aim + gain * (image - mean), 0, 255)
    blended: Image = (image * (1 - alpha) + changed * alpha).astype(np.float32)
    return blended


def window_clipped(image: Image, rng: np.random.Generator) -> Image:
    """Show a slice of 0..255 HU through another window, as greys 0..255.

    Most windows of abdominal CT show fat as dark grey; here it was clipped to black. So it is
    invented: black within and close around the body gets values of fat, the rest those of air.
    """
    if rng.random() >= _INVENTED_FAT:
        return _linear(image, float(rng.uniform(-25, 35)), float(rng.uniform(150, 270)))
    coarse = gaussian_filter((image[::4, ::4] > 20).astype(np.float32), 1.2) > 0.25
    body = distance_transform_edt(~binary_fill_holes(coarse)) <= float(rng.uniform(0, 7))
    body = gaussian_filter(np.kron(body, np.ones((4, 4))).astype(np.float32), 1.5) > 0.5
    body = body[: image.shape[0], : image.shape[1]]
    grain = gaussian_filter(rng.standard_normal(image.shape).astype(np.float32), 0.8)
    fat = rng.uniform(-115, -85) + grain * rng.uniform(10, 30)
    black = np.clip(1 - image / 12, 0, 1)
    return window_hu(image + np.where(body, black * fat, -1000.0 * (image < 3)), rng)


def window_hu(hu: Image, rng: np.random.Generator) -> Image:
    """Show Hounsfield units through a random window of the abdomen, as greys 0..255."""
    width = float(np.exp(rng.uniform(np.log(220), np.log(550))))
    centre = float(rng.uniform(20, 110))
    return _linear(hu, centre - width / 2, centre + width / 2)


def rewindow(image: Image, rng: np.random.Generator) -> Image:
    """Show greys 0..255 of an unknown window through a somewhat different one."""
    return _linear(image, float(rng.uniform(-25, 50)), float(rng.uniform(190, 290)))


def degrade(image: Image, rng: np.random.Generator) -> Image:
    """Change gamma, sharpness, resolution, local contrast and noise of greys 0..255."""
    image = image / np.float32(255)
    if rng.random() < 0.5:
        image = image ** float(np.exp(rng.normal(0, 0.25)))
    draw = rng.random()
    if draw < 0.2:
        image = gaussian_filter(image, rng.uniform(0.4, 1.1))
    elif draw < 0.35:
        image = image + rng.uniform(0.3, 1.0) * (image - gaussian_filter(image, 1.0))
    elif draw < 0.45:
        image = _coarser(image, rng.uniform(0.5, 0.9))
    if rng.random() < 0.12:  # stands for CLAHE, with which some sets were prepared
        around = gaussian_filter(image, 16)
        image = image + (rng.uniform(0.3, 0.8) * (0.45 - around) * (image > 0.02)).astype(
            np.float32
        )
    if rng.random() < 0.4:
        grain = rng.standard_normal(image.shape).astype(np.float32)
        if rng.random() < 0.5:
            grain = gaussian_filter(grain, 0.8) * 2
        image = image + grain * np.float32(rng.uniform(0.01, 0.06))
    return np.clip(image, 0, 1) * np.float32(255)


def _coarser(image: Image, share: float) -> Image:
    """Resize to a share of the side and back."""
    side = int(image.shape[0] * share)
    pixels = torch.from_numpy(image.astype(np.float32))[None, None]
    small = nnf.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True)
    back: Image = nnf.interpolate(small, size=image.shape, mode="bilinear")[0, 0].numpy()
    return back


def _linear(image: Image, low: float, high: float) -> Image:
    greys: Image = (np.clip((image - low) / (high - low), 0, 1) * 255).astype(np.float32)
    return greys
