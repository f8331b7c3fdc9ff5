"""Changes to a training slice that leave its label true."""

import math

import torch
import torch.nn.functional as nnf
from torch import Tensor

_ROTATION = math.radians(15)
_SCALE = 0.15  # of the size
_SHIFT = 0.08  # of the side
_BRIGHTNESS = 20.0  # grey levels; about 30 HU at a window of 400
_CONTRAST = 0.15
_NOISE = 6.0  # standard deviation in grey levels


def augment(slices: Tensor) -> Tensor:
    """Move each slice a little and change its grey levels a little, each on its own.

    Args:
        slices: float (N, 1, S, S), 0..255.

    Returns:
        The same shape and range. Half of them are mirrored: no such anatomy exists, but no class
        depends on the side.
    """
    return _change_greys(_move(slices)).clamp(0, 255)


def _move(slices: Tensor) -> Tensor:
    """Rotate, scale, mirror and shift; what comes from outside is black, as air is."""
    count, device = len(slices), slices.device
    angle = _ROTATION * _between(count, device)
    zoom = 1 + _SCALE * _between(count, device)
    mirror = torch.where(torch.rand(count, device=device) < 0.5, -1.0, 1.0)
    cos, sin = zoom * torch.cos(angle), zoom * torch.sin(angle)
    shift_x, shift_y = (2 * _SHIFT * _between(count, device) for _ in range(2))
    rows = [
        torch.stack([mirror * cos, -sin, shift_x], 1),
        torch.stack([mirror * sin, cos, shift_y], 1),
    ]
    grid = nnf.affine_grid(torch.stack(rows, 1), list(slices.shape), align_corners=False)
    return nnf.grid_sample(slices, grid, align_corners=False)


def _change_greys(slices: Tensor) -> Tensor:
    """Change brightness and contrast and add noise."""
    count, device = len(slices), slices.device
    gain = (1 + _CONTRAST * _between(count, device)).view(-1, 1, 1, 1)
    shift = (_BRIGHTNESS * _between(count, device)).view(-1, 1, 1, 1)
    noise = _NOISE * torch.rand((count, 1, 1, 1), device=device) * torch.randn_like(slices)
    return 128 + gain * (slices - 128) + shift + noise


def _between(count: int, device: torch.device) -> Tensor:
    """Draw (count,) uniformly from -1 to 1."""
    return 2 * torch.rand(count, device=device) - 1
