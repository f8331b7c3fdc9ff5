"""Kidney locator: a linear attention map over the trunk's features weights what the head pools.

A finding of the kidney lies in a kidney; the rest of a slice shows scanner, phase and framing, and
misleads the head.
"""

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

_COORDINATES = 5  # channels of body coordinates
_LEAST = 1e-3  # of the probability: a slice without a kidney is pooled over everywhere
_DECAY = 3e-3  # L2; of 3e-4 to 3e-3 the one whose map of a phantom fits real kidneys best
_STEPS = 40  # of L-BFGS; the loss no longer moves then


class Locator(nn.Module):
    """Spatial weights: the probability of kidney at each position, divided by its mean.

    Until it is fitted all positions weigh the same.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.look = nn.Conv2d(2 * channels + _COORDINATES, 1, 1)
        self.look.requires_grad_(False)
        nn.init.zeros_(self.look.weight)
        assert self.look.bias is not None
        nn.init.zeros_(self.look.bias)

    def forward(self, maps: Tensor) -> Tensor:
        """Map the trunk's maps (N, c, h, w) to weights (N, 1, h, w), 0 and more, with mean 1."""
        likely = torch.sigmoid(self.look(with_context(maps))) + _LEAST
        return likely / likely.mean(dim=(2, 3), keepdim=True)


def with_context(maps: Tensor) -> Tensor:
    """Add to each position of maps (N, c, h, w) its neighbourhood mean and body coordinates."""
    around = nnf.avg_pool2d(maps, 3, stride=1, padding=1, count_include_pad=False)
    return torch.cat([maps, around, _coordinates(maps)], dim=1)


def _coordinates(maps: Tensor) -> Tensor:
    """Return (N, 5, h, w), symmetric in left and right: |x|, y, x², y², |x|y, each -1 to 1."""
    height, width = maps.shape[2:]
    rows, columns = (
        (torch.arange(count, device=maps.device, dtype=maps.dtype) + 0.5) * (2 / count) - 1
        for count in (height, width)
    )
    y, x = rows[:, None].expand(height, width), columns[None, :].expand(height, width).abs()
    coordinates = torch.stack([x, y, x * x, y * y, x * y])
    # Not len(maps): the exporter would take that for a constant.
    return coordinates[None].expand(maps.shape[0], -1, -1, -1)


def fit_locator(locator: Locator, maps: Tensor, shares: Tensor) -> None:
    """Fit a locator to masks by logistic regression.

    Args:
        maps: float (N, c, h, w), the trunk's features of slices.
        shares: float (N, h, w), share of kidney at each position, 0 to 1.
    """
    inputs = with_context(maps).permute(0, 2, 3, 1).flatten(0, 2)  # (M, 2c + 5)
    wanted = shares.flatten()
    mean, deviation = inputs.mean(dim=0), inputs.std(dim=0) + 1e-3
    standard = (inputs - mean) / deviation
    weight = torch.zeros(inputs.shape[1], requires_grad=True)
    bias = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        fit = nnf.binary_cross_entropy_with_logits(standard @ weight + bias, wanted)
        total = fit + _DECAY * weight.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        slope = weight / deviation
        locator.look.weight.copy_(slope[None, :, None, None])
        assert locator.look.bias is not None
        locator.look.bias.copy_(bias - slope @ mean)
