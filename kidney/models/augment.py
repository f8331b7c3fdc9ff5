"""Changes to a training slice that leave its label true."""

import torch
from torch import Tensor

_BRIGHTNESS = 20.0  # grey levels; about 30 HU at a window of 400
_CONTRAST = 0.15
_NOISE = 6.0  # standard deviation in grey levels


def augment(slices: Tensor) -> Tensor:
    """Flip, brighten, stretch contrast and add noise, drawn for each slice on its own.

    Args:
        slices: float (N, 1, S, S), 0..255.

    Returns:
        The same shape and range. The mirrored body is no anatomy that exists, but no class
        depends on the side.
    """
    shape = (len(slices), 1, 1, 1)
    device = slices.device
    mirrored = torch.where(torch.rand(shape, device=device) < 0.5, slices.flip(3), slices)
    gain = 1 + _CONTRAST * (2 * torch.rand(shape, device=device) - 1)
    shift = _BRIGHTNESS * (2 * torch.rand(shape, device=device) - 1)
    noise = _NOISE * torch.rand(shape, device=device) * torch.randn_like(slices)
    return (128 + gain * (mirrored - 128) + shift + noise).clamp(0, 255)
