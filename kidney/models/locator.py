"""Where are the kidneys? A linear look at the trunk's map decides which places the head listens to.

A finding of the kidney lies in a kidney: whatever else a slice shows tells scanner, phase and
framing, and misleads.
"""

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

_PLACES = 5  # channels that say where in the body a place is
_LEAST = 1e-3  # of the likelihood: a slice without a kidney is looked at everywhere
_DECAY = 3e-3  # L2; of 3e-4 to 3e-3 the one whose map of a phantom fits real kidneys best
_STEPS = 40  # of L-BFGS; the loss no longer moves then


class Locator(nn.Module):
    """Weights of places: how likely each shows kidney, divided by the mean over the slice.

    Until it is fitted all places weigh the same.

    Args:
        channels: of the map that it looks at.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.look = nn.Conv2d(2 * channels + _PLACES, 1, 1)
        self.look.requires_grad_(False)
        nn.init.zeros_(self.look.weight)
        assert self.look.bias is not None
        nn.init.zeros_(self.look.bias)

    def forward(self, maps: Tensor) -> Tensor:
        """Map the trunk's maps (N, c, h, w) to weights (N, 1, h, w), 0 and more, with mean 1."""
        likely = torch.sigmoid(self.look(seen(maps))) + _LEAST
        return likely / likely.mean(dim=(2, 3), keepdim=True)


def seen(maps: Tensor) -> Tensor:
    """Put beside each place of maps (N, c, h, w) its surroundings and where it lies in the body."""
    around = nnf.avg_pool2d(maps, 3, stride=1, padding=1, count_include_pad=False)
    return torch.cat([maps, around, _places(maps)], dim=1)


def _places(maps: Tensor) -> Tensor:
    """Return (N, 5, h, w): left and right look alike, the back does not look like the front."""
    height, width = maps.shape[2:]
    rows, columns = (
        (torch.arange(count, device=maps.device, dtype=maps.dtype) + 0.5) * (2 / count) - 1
        for count in (height, width)
    )
    y, x = rows[:, None].expand(height, width), columns[None, :].expand(height, width).abs()
    places = torch.stack([x, y, x * x, y * y, x * y])
    # Not len(maps): the exporter would take that for a constant.
    return places[None].expand(maps.shape[0], -1, -1, -1)


def fit_locator(locator: Locator, maps: Tensor, shares: Tensor) -> None:
    """Fit a locator to masks by logistic regression.

    Args:
        locator: its weights are set.
        maps: float (N, c, h, w), what the trunk makes of slices.
        shares: float (N, h, w), share of each place that is kidney, 0 to 1.
    """
    inputs = seen(maps).permute(0, 2, 3, 1).flatten(0, 2)  # (M, 2c + 5)
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
