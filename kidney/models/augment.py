"""Changes to a training slice that leave its label true."""

import math

import torch
import torch.nn.functional as nnf
from torch import Tensor

_ROTATION = math.radians(15)
_ZOOM = (0.80, 1.15)  # side of what is seen, against the cut-out body
_SHIFT = 0.12  # of half the side
_GAMMA = 0.35  # of the natural logarithm
_BRIGHTNESS = 25.0  # grey levels; about 40 HU at a window of 400
_CONTRAST = (0.80, 1.25)
_BLURRED = 0.4  # share of the slices that lose resolution,
_RESOLUTION = (0.45, 0.95)  # to this share of the pixels a side
_NOISE = 8.0  # most standard deviation in grey levels


def augment(images: Tensor) -> Tensor:
    """Move each image a little and change window, resolution and noise, each on its own.

    Scanners, windows and framing differ between the classes of public sets: what is drawn anew for
    every image cannot tell the class.

    Args:
        images: float (N, 1, S, S), 0..255.

    Returns:
        The same shape and range. Half of them are mirrored: no such anatomy exists, but no class
        depends on the side.
    """
    return _noisy(_coarser(_window(_move(images)))).clamp(0, 255)


def _move(images: Tensor) -> Tensor:
    """Rotate, scale, mirror and shift; what comes from outside is black, as air is."""
    count = len(images)
    angle = _between(images, -_ROTATION, _ROTATION)
    zoom = _between(images, *_ZOOM)
    mirror = torch.where(torch.rand(count, device=images.device) < 0.5, -1.0, 1.0)
    cos, sin = zoom * torch.cos(angle), zoom * torch.sin(angle)
    shift_x, shift_y = (_between(images, -_SHIFT, _SHIFT) for _ in range(2))
    rows = [
        torch.stack([mirror * cos, -sin, shift_x], 1),
        torch.stack([mirror * sin, cos, shift_y], 1),
    ]
    grid = nnf.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return nnf.grid_sample(images, grid, align_corners=False)


def _window(images: Tensor) -> Tensor:
    """Show the tissue through another window: gamma, contrast and brightness."""
    gamma = torch.exp(_between(images, -_GAMMA, _GAMMA)).view(-1, 1, 1, 1)
    bent = 255 * (images.clamp(0, 255) / 255) ** gamma
    gain = _between(images, *_CONTRAST).view(-1, 1, 1, 1)
    shift = _between(images, -_BRIGHTNESS, _BRIGHTNESS).view(-1, 1, 1, 1)
    return (128 + gain * (bent - 128) + shift).clamp(0, 255)


def _coarser(images: Tensor) -> Tensor:
    """Take resolution from some of the images, as a smooth kernel or a small matrix does."""
    side = images.shape[2]
    blurred = torch.rand(len(images)) < _BLURRED
    sides = (side * _between(images, *_RESOLUTION)).int().tolist()
    return torch.cat(
        [
            _there_and_back(image[None], small) if blur else image[None]
            for image, blur, small in zip(images, blurred, sides, strict=True)
        ]
    )


def _there_and_back(image: Tensor, side: int) -> Tensor:
    small = nnf.interpolate(
        image, size=(side, side), mode="bilinear", align_corners=False, antialias=True
    )
    return nnf.interpolate(small, size=image.shape[2:], mode="bilinear", align_corners=False)


def _noisy(images: Tensor) -> Tensor:
    deviation = _NOISE * torch.rand((len(images), 1, 1, 1), device=images.device)
    return images + deviation * torch.randn_like(images)


def _between(images: Tensor, low: float, high: float) -> Tensor:
    """Draw (N,) uniformly, one for each image."""
    return low + (high - low) * torch.rand(len(images), device=images.device)
